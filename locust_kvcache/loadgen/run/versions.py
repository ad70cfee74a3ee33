"""Collects the software versions and the command line for run.json."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from locust_kvcache import __version__
from locust_kvcache.contract.command import typed_command
from locust_kvcache.contract.extensions import packages as extension_packages
from locust_kvcache.contract.shipped import checkout


def versions() -> dict[str, str]:
    """The software that sent the load."""
    packages = {name: version(name) for name in ("locust", "gevent", "httptools")}
    of_checkout = commit()
    return {
        "python": platform.python_version(),
        **packages,
        **extension_packages(),
        "locust_kvcache": f"{__version__} ({of_checkout})" if of_checkout else __version__,
    }


@functools.cache
def commit() -> str | None:
    """Of the checkout that is used, asked once. An installed package has none, although it may lie in somebody's repository."""
    root = checkout()
    if root is None:
        return None
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """The command as typed: no key stands in it, keys come from the environment."""
    return typed_command() or [Path(sys.argv[0]).name, *sys.argv[1:]]
