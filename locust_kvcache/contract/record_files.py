"""Names the files that hold a run's records, in the order in which they were written.

`records.jsonl` is open while the run goes on. With `--records-format parquet` the master closes it every PART_RECORDS records or PART_S
seconds: it is moved to `records.d/part-00001.jsonl`, and a new one is begun. Another process makes `part-00001.parquet` of the part and
removes the lines when that file is whole. So each record is in a file that can be read, whatever is killed and whenever.
"""

from __future__ import annotations

from pathlib import Path

JSONL, PARQUET = "jsonl", "parquet"
FORMATS = (JSONL, PARQUET)
OPEN_FILE, PARTS_FOLDER = "records.jsonl", "records.d"
PART_RECORDS = 100_000
PART_S = 600.0
PART_WRITER = "locust_kvcache.analysis.reading.part_writer"  # takes paths of closed parts on its standard input, one a line
PARTS_TO_LINES = "locust_kvcache.analysis.reading.parts_to_lines"  # RUN: makes one records.jsonl of all parts


def part_path(folder: Path, number: int) -> Path:
    """Of a part that was just closed, as lines."""
    return folder / PARTS_FOLDER / f"part-{number:05d}.jsonl"


def part_numbers(folder: Path) -> list[int]:
    """Of the parts that are there, in either form."""
    names = {path.stem for path in (folder / PARTS_FOLDER).glob("part-*.*") if path.suffix in (".jsonl", ".parquet")}
    return sorted(int(name.removeprefix("part-")) for name in names if name.removeprefix("part-").isdigit())


def record_files(folder: Path) -> list[Path]:
    """The closed parts, then the open file. Of a part that is there in both forms, the Parquet file: it has its name when it is whole."""
    lines = [part_path(folder, number) for number in part_numbers(folder)]
    files = [path.with_suffix(".parquet") if path.with_suffix(".parquet").is_file() else path for path in lines]
    open_file = folder / OPEN_FILE
    return [*files, open_file] if open_file.is_file() else files


def where_now(file: Path) -> Path:
    """A part may have become a Parquet file since it was listed."""
    made = file.with_suffix(".parquet")
    return made if not file.exists() and made.exists() else file
