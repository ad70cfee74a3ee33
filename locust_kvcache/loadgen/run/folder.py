"""A run's folder: run.json says what was run and how far it got, and is replaced as a whole each time (docs/files.md)."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.shipped import PACKAGE

RUN_FORMAT = 1


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def create_run_folder(output_dir: Path, name: str | None, deployment: str, model: str, suffix: str) -> Path:
    """A new folder, never an existing one; `suffix` tells the runs of a sweep or study apart. BadInput says why it cannot be made."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", model).strip("-")
    base = name or f"{deployment}_{slug}_{datetime.now(UTC):%Y%m%d-%H%M%S}"
    base += suffix
    for attempt in range(1, 100):
        folder = output_dir / (base if attempt == 1 else f"{base}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if name and folder.is_dir():
                raise BadInput(f"--run-name: {folder} exists already; choose another name, or remove it") from error
            if not folder.is_dir():
                raise BadInput(f"--output-dir: {folder} is not a folder; choose another --output-dir") from error
        except OSError as error:
            raise BadInput(f"--output-dir: {folder} cannot be made: {error.strerror}; choose another --output-dir") from error
    raise BadInput(f"--output-dir: no free name like {base} in {output_dir}; choose another --run-name")


def check_writable(output_dir: Path) -> None:
    """BadInput before any load is sent if a run could not be written."""
    nearest = output_dir
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(
            f"--output-dir: no permission to write to {output_dir} ({nearest} is not a writable folder); choose another"
        )


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file as a whole, so that a reader or a crash never meets half of it."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


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
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def analyse(folder: Path, report: bool, gate: bool) -> tuple[int, str]:
    """Run the analysis as a process of its own (the load generator never imports pandas): its exit code and output."""
    command = [sys.executable, "-m", "locust_kvcache.analysis", str(folder.resolve())]
    command += [] if report else ["--no-report"]
    command += ["--gate"] if gate else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def summarise(module: str, folders: list[Path]) -> str:
    """What an analysis of several runs together printed; a process of its own too."""
    command = [sys.executable, "-m", module, *(str(folder.resolve()) for folder in folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
