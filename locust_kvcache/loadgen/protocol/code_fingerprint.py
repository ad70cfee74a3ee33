"""Tells whether two processes run the same code of this package: workers must compute the master's very plan."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from locust_kvcache.contract.shipped import PACKAGE

PATTERNS = ("contract/*.py", "workload/*.py", "loadgen/**/*.py")  # of the package
NAMED = 8  # differing files that an error lists


@functools.cache
def fingerprint() -> dict[str, str]:
    """Of the package that this process has loaded, read once."""
    return fingerprint_of(PACKAGE)


def fingerprint_of(package: Path) -> dict[str, str]:
    """A hash by path of the code that decides what is sent and how it is measured.

    Equal for a checkout and an installed package of the same code, whose versions may differ: a checkout keeps that of its installation.
    Scenarios are not in it: the master sends their values.
    """
    code = {f"locust_kvcache/{path.relative_to(package)}": path for pattern in PATTERNS for path in package.glob(pattern)}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in sorted(code.items())}


def differences(master: Mapping[str, str], worker: Mapping[str, str]) -> str:
    """The files that differ, for a message; empty if none does."""
    changed = sorted(path for path in master.keys() & worker.keys() if master[path] != worker[path])
    texts = changed + [f"{path} (not on the worker)" for path in sorted(master.keys() - worker.keys())]
    texts += [f"{path} (only on the worker)" for path in sorted(worker.keys() - master.keys())]
    more = [f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else []
    return ", ".join(texts[:NAMED] + more)
