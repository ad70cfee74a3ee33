"""Ends a process that a benchmark has started: politely, then for good."""

from __future__ import annotations

import subprocess
from typing import Any


def end(process: subprocess.Popen[Any], patience_s: float = 10.0) -> None:
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
