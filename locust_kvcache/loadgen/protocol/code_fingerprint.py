"""The code and scenario files of this checkout come in, a short hash of each goes out: workers must compute the master's very plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from locust_kvcache.contract.shipped import PACKAGE, shipped

PATTERNS = ("contract/*.py", "workload/*.py", "loadgen/**/*.py")  # of the package
NAMED = 8  # differing files that an error lists


def fingerprint(package: Path = PACKAGE, scenarios: Path | None = None) -> dict[str, str]:
    """Hash by path, of what decides what is sent and how it is measured; equal paths in a checkout and in an installed package."""
    code = {f"locust_kvcache/{path.relative_to(package)}": path for pattern in PATTERNS for path in package.glob(pattern)}
    data = {f"scenarios/{path.name}": path for path in (scenarios or shipped("scenarios")).glob("*.yaml")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in sorted((code | data).items())}


def differences(master: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """The files that differ, for a message; empty if none does."""
    changed = sorted(path for path in master.keys() & worker.keys() if master[path] != worker[path])
    texts = changed + [f"{path} (not on the worker)" for path in sorted(master.keys() - worker.keys())]
    texts += [f"{path} (only on the worker)" for path in sorted(worker.keys() - master.keys())]
    more = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return ", ".join(texts[:NAMED] + more)
