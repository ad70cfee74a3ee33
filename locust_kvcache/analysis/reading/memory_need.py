"""Says before runs are read whether they fit into this machine's memory, and their columns on its disk (basics/mapped.py)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from locust_kvcache.analysis.basics import mapped
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record_files import record_files, where_now

FIXED_BYTES = 350e6  # libraries and charts
BYTES_PER_RECORD = 280  # as benchmarks/big_report.py measures it for each command, and some more
KEPT_BYTES_PER_RECORD = 30  # of a run that was read before, as long as it is compared
DISK_BYTES_PER_RECORD = 400  # of columns that are not alike in all records
LOOKED_AT_FROM = 500_000  # records; fewer fit anywhere
FIRST_BYTES = 1 << 16  # of a file of lines, from which the length of a line is taken
MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def check_fits(folder: Path, files: Sequence[Path]) -> None:
    """BadInput where the records of these files are too many for the memory, or for the disk."""
    count = sum(map(_records_in, files))
    if count < LOOKED_AT_FROM:
        return
    need, free = FIXED_BYTES + BYTES_PER_RECORD * count, available_bytes()
    if free is not None and need > free:
        raise BadInput(
            f"{folder}: {_numbers(count, need, free)}. End other programs, or copy the folder to a machine with more memory and run the "
            "command there."
        )
    need, place = DISK_BYTES_PER_RECORD * count, mapped.folder()
    if need > (left := shutil.disk_usage(place).free):
        raise BadInput(
            f"{folder}: the analysis of about {count:,} records keeps {need / 1e9:.1f} GB of columns in {place}, and {left / 1e9:.1f} GB "
            "are free there. Set TMPDIR to a folder on a disk with more room."
        )


def check_all_fit(paths: Sequence[Path]) -> None:
    """BadInput where several runs, which are read one after the other, are too many for the memory. Each path: a run's folder, or a file in
    it. For the disk each is checked when it is read."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    counts = [sum(map(_records_in, record_files(folder))) for folder in folders]
    count, most = sum(counts), max(counts, default=0)
    if count < LOOKED_AT_FROM:
        return
    need, free = FIXED_BYTES + BYTES_PER_RECORD * most + KEPT_BYTES_PER_RECORD * (count - most), available_bytes()
    if free is not None and need > free:
        raise BadInput(
            f"{', '.join(map(str, paths))}: {_numbers(count, need, free)}. End other programs, give fewer runs, or copy the folders to a "
            "machine with more memory and run the command there."
        )


def _numbers(count: int, need: float, free: float) -> str:
    return f"the analysis of about {count:,} records takes {need / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"


def _records_in(file: Path) -> int:
    """Of a Parquet file exactly, of lines by the length of the first ones; 0 of one that cannot be read, which is told elsewhere."""
    file = where_now(file)
    try:
        if file.suffix == ".parquet":
            return int(pq.read_metadata(file).num_rows)
        with file.open("rb") as opened:
            first = opened.read(FIRST_BYTES)
        return int(file.stat().st_size * first.count(b"\n") / max(1, first.rfind(b"\n") + 1))
    except (OSError, pa.ArrowException):
        return 0


def available_bytes() -> float | None:
    """Memory that a process may still take: of the machine, or of its container where that has a limit; None where nothing tells."""
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
        free = 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    try:
        used, limit = (int((CGROUP / name).read_text()) for name in ("memory.current", "memory.max"))
        held = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return min(free, limit - used + float(held.get("inactive_file", 0)) + float(held.get("active_file", 0)))
    except (OSError, ValueError):  # no limit is called "max"
        return free
