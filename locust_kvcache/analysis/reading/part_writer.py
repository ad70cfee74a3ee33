"""Makes Parquet files of closed parts of records, beside a load test: python -m locust_kvcache.analysis.reading.part_writer

Takes the path of a part (lines) from its standard input, one a line, and ends when that is closed. A part that is no record of this
version line by line stays as it is: the analysis reads lines too.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.json as pa_json  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from locust_kvcache.analysis.reading.record_lines import parts_locked
from locust_kvcache.analysis.reading.record_schema import file_schema

BLOCK_BYTES = 8 << 20  # of lines that are parsed at a time: what bounds the memory
NICENESS = 3  # the load goes first


def write_part(lines: Path) -> bool:
    """part-N.parquet of part-N.jsonl, which is then removed; False where it stays."""
    made, partial = lines.with_suffix(".parquet"), lines.with_suffix(".partial")
    try:
        with parts_locked(lines.parent):
            _convert(lines, partial)
            partial.replace(made)
            lines.unlink()
    except (pa.ArrowException, OSError):
        with contextlib.suppress(OSError):
            partial.unlink()
        return False
    return True


def _convert(lines: Path, partial: Path) -> None:
    schema = file_schema()
    batches = pa_json.open_json(
        str(lines),
        read_options=pa_json.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
    with partial.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.select(schema.names))
        file.flush()
        os.fsync(file.fileno())  # the lines are removed after this


def main() -> None:
    os.nice(NICENESS)
    pa.set_cpu_count(1)
    for path in sys.stdin:
        write_part(Path(path.rstrip("\n")))


if __name__ == "__main__":
    main()
