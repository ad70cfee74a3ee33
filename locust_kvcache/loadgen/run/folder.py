"""Makes a run's folder, and replaces its run.json as a whole each time (docs/files.md)."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput

RUN_FORMAT = 1
MOST_OF_MODEL = 80  # characters of its name in the folder's: file systems take 255


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def create_run_folder(output_dir: Path, name: str | None, deployment: str, model: str, suffix: str) -> Path:
    """A new folder, never an existing one; `suffix` tells the runs of a sweep or study apart. BadInput says why it cannot be made."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:MOST_OF_MODEL].strip("-")
    base = name or f"{deployment}_{slug}_{datetime.now(UTC):%Y%m%d-%H%M%S}"
    base += suffix
    for attempt in range(1, 100):
        folder = output_dir / (base if attempt == 1 else f"{base}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if name and folder.is_dir():
                ways = "choose another name, remove it, or go on with it (--resume)"
                raise BadInput(f"--run-name: {folder} exists already; {ways}") from error
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
