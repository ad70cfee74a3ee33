"""Reads records as JSON lines, from lines or from Parquet files, and turns the parts of a run into one file of lines."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from locust_kvcache.contract.record_files import OPEN_FILE, PARTS_FOLDER, record_files, where_now

ROWS_AT_A_TIME = 10_000


def lines_of(file: Path) -> Iterator[bytes]:
    """Each record of a file as its line, without the newline; of a file of lines whatever it holds."""
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(ROWS_AT_A_TIME):
                yield from map(orjson.dumps, batch.to_pylist())
        return
    with file.open("rb") as opened:
        yield from (line.rstrip(b"\n") for line in opened)


@contextmanager
def parts_locked(parts: Path) -> Iterator[None]:
    """One process at a time makes files in a folder of parts."""
    folder = os.open(parts, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def replace_records(run: Path, lines: Iterator[bytes]) -> None:
    """Write a run's records anew as records.jsonl. A crash leaves either what was there, or records.d beside its whole replacement."""
    partial, parts, old = run / "records.partial", run / PARTS_FOLDER, run / f"{PARTS_FOLDER}.old"
    with partial.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
    if parts.is_dir():
        parts.rename(old)
    partial.replace(run / OPEN_FILE)
    shutil.rmtree(old, ignore_errors=True)


def to_lines(run: Path) -> None:
    """All parts, and the open file behind them, become records.jsonl."""
    with parts_locked(run / PARTS_FOLDER):
        files = [where_now(file) for file in record_files(run)]
        replace_records(run, (line for file in files for line in lines_of(file)))
