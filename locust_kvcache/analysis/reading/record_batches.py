"""Reads one file of records, batch by batch: Parquet, lines by pyarrow, or line by line where a line is torn or foreign."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.json as pa_json  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from locust_kvcache.analysis.basics.plain_values import readable
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.column_stack import ColumnStack
from locust_kvcache.analysis.reading.record_schema import COLUMNS, FLAGS, FRAME_SCHEMA, LARGEST, NUMBERS, TEXTS
from locust_kvcache.contract.record_files import where_now

ROWS_AT_A_TIME = 100_000
BLOCK_BYTES = 8 << 20


def add_file(stack: ColumnStack, file: Path) -> list[Problem]:
    """Add a file's records; what of it cannot be read."""
    file, before = where_now(file), stack.batches
    try:
        for batch in _parquet(file) if file.suffix == ".parquet" else _lines(file):
            stack.add(batch)
    except (pa.ArrowException, OSError) as error:
        stack.keep(before)
        if file.suffix == ".parquet":
            said = " ".join(str(error).split())[:150]
            return [
                Problem(
                    "error", "bad_part", f"{file.parent.name}/{file.name} cannot be read ({said}).", "Its records are missing."
                )
            ]
        return _add_line_by_line(stack, file)
    return []


def _parquet(file: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as parquet:
        held = [name for name in COLUMNS if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(ROWS_AT_A_TIME, columns=held):
            columns = [
                batch.column(name) if name in held else pa.nulls(batch.num_rows, FRAME_SCHEMA.field(name).type)
                for name in COLUMNS
            ]
            yield pa.RecordBatch.from_arrays(
                [column.cast(kind) for column, kind in zip(columns, FRAME_SCHEMA.types, strict=True)], COLUMNS
            )


def _lines(file: Path) -> Iterator[pa.RecordBatch]:
    """All lines, a million in seconds; ArrowException if any of them is not what the schema says, or the last one has no end."""
    if file.stat().st_size == 0:
        return
    with file.open("rb") as opened:
        opened.seek(-1, io.SEEK_END)
        if opened.read(1) != b"\n":
            raise pa.ArrowInvalid("the last line has no end")
    yield from pa_json.open_json(
        str(file),
        read_options=pa_json.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=pa_json.ParseOptions(explicit_schema=FRAME_SCHEMA, unexpected_field_behavior="ignore"),
    )


def _add_line_by_line(stack: ColumnStack, file: Path) -> list[Problem]:
    """Keeps what is JSON. A last line without its newline counts as torn only if it does not parse."""
    rows: list[dict[str, Any]] = []
    bad, number, torn = [], 0, False
    with file.open("rb") as opened:
        for number, line in enumerate(opened, 1):
            if not line.strip():
                continue
            row = _parse_line(line)
            if row is None:
                torn = not line.endswith(b"\n")
                bad.append(number)
            else:
                rows.append(row)
            if len(rows) >= ROWS_AT_A_TIME:
                stack.add(pa.RecordBatch.from_pylist(rows, FRAME_SCHEMA))
                rows = []
    stack.add(pa.RecordBatch.from_pylist(rows, FRAME_SCHEMA))
    problems = []
    if torn:
        bad.pop()
        text = f"The last line of {file.name} (line {number}) is incomplete: the run was killed while it wrote the line."
        problems.append(Problem("warning", "torn_line", text, "It was left out."))
    if bad:
        text = f"{len(bad)} lines of {file.name} are not JSON objects (first: line {bad[0]})."
        problems.append(Problem("warning", "bad_lines", text, "They were left out."))
    return problems


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else float("inf")  # an integer of 400 digits is no float


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    row: dict[str, Any] = {name: _number(value.get(name)) for name in NUMBERS}
    for name in FLAGS:
        row[name] = value[name] if isinstance(value.get(name), bool) else None
    for name in TEXTS:
        if name in COLUMNS:
            row[name] = readable(value[name]) if isinstance(value.get(name), str) else None
    return row
