"""Makes a run's folder, and replaces its run.json as a whole each time (docs/files.md)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record_files import OPEN_FILE

log = logging.getLogger("kvcache")
RUN_FORMAT = 1
LEAST_FREE_BYTES = 2 << 20
RESERVE, RESERVE_BYTES = "run.reserve", 256 << 10
NOTHING_MEASURED = frozenset(
    {"run.json", "run.partial", OPEN_FILE, "server_metrics.jsonl", RESERVE}
)  # files of a run without rounds
MOST_OF_MODEL = 80  # characters of its name in the folder's: file systems take 255


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def create_run_folder(output_dir: Path, name: str | None, deployment: str, model: str, suffix: str) -> Path:
    """A new folder, never that of a run that measured something; `suffix` tells the runs of a sweep or study apart. BadInput says why it
    cannot be made."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:MOST_OF_MODEL].strip("-")
    base = name or f"{deployment}_{slug}_{datetime.now(UTC):%Y%m%d-%H%M%S}"
    base += suffix
    for attempt in range(1, 100):
        folder = output_dir / (base if attempt == 1 else f"{base}-{attempt}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if name and folder.is_dir() and _emptied(folder):
                return folder
            if name and folder.is_dir():
                ways = "choose another name, remove the folder, or resume that run (--resume)"
                raise BadInput(f"--run-name: {folder} exists already; {ways}") from error
            if not folder.is_dir():
                raise BadInput(f"--output-dir: {folder} is not a folder; choose another --output-dir") from error
        except OSError as error:
            raise BadInput(f"--output-dir: {folder} cannot be made: {error.strerror}; choose another --output-dir") from error
    raise BadInput(f"--output-dir: no free name like {base} in {output_dir}; choose another --run-name")


def _emptied(folder: Path) -> bool:
    """Whether the folder is of a run that has ended before its first round began (Ctrl-C in the warm-up): its name is free."""
    try:
        if {path.name for path in folder.iterdir()} - NOTHING_MEASURED:
            return False
        with (folder / OPEN_FILE).open("rb") as records:
            fcntl.flock(records, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by a run that is under way
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if records.read(1) or facts["format"] != RUN_FORMAT or facts["rounds"]:
                return False
            log.warning("%s had a run that measured nothing (%s): this run replaces it", folder, facts["incomplete_reason"])
            for name in NOTHING_MEASURED:
                (folder / name).unlink(missing_ok=True)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # nothing is taken away of which it is not known
    return True


def check_writable(output_dir: Path) -> None:
    """BadInput before any load is sent if a run could not be written."""
    nearest = output_dir
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise BadInput(
            f"--output-dir: no permission to write to {output_dir} ({nearest} is not a writable folder); choose another"
        )
    if (free := shutil.disk_usage(nearest).free) < LEAST_FREE_BYTES:
        wanted = f"{LEAST_FREE_BYTES >> 20} MB at least, and about 1 MB for each 700 requests"
        raise BadInput(f"--output-dir: the disk of {nearest} has only {free >> 10:,} KB free; free {wanted}, or choose another")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file as a whole, so that a reader or a crash never meets half of it."""
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()  # on a full disk it takes room from others
        raise


class Reserve:
    """Room on the disk for the last run.json, which says that the disk was full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESERVE
        with contextlib.suppress(OSError), self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)

    def free(self) -> bool:
        """Whether there is more room now."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
