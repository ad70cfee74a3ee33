"""Which software sent the load, and by which command, for run.json."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from locust_kvcache.contract.command import typed_command
from locust_kvcache.contract.shipped import PACKAGE


def versions() -> dict[str, str | None]:
    """The software that sent the load."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=PACKAGE, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    packages = {name: version(name) for name in ("locust", "gevent", "httptools")}
    return {"python": platform.python_version(), **packages, "locust_kvcache": commit}


def command_line() -> list[str]:
    """The command as typed: no key stands in it, keys come from the environment."""
    return typed_command() or [Path(sys.argv[0]).name, *sys.argv[1:]]
