"""Starts the analysis at a run's end, as a process of its own: the load generator never imports pandas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def analyse(folder: Path, report: bool, gate: bool) -> tuple[int, str]:
    """The analysis of one run: its exit code and output."""
    command = [sys.executable, "-m", "locust_kvcache.analysis", str(folder.resolve())]
    command += [] if report else ["--no-report"]
    command += ["--gate"] if gate else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def summarise(module: str, folders: list[Path]) -> str:
    """What an analysis of several runs together printed."""
    command = [sys.executable, "-m", module, *(str(folder.resolve()) for folder in folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
