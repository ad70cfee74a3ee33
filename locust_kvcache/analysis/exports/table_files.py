"""Writes a table as CSV or Parquet, a part of its rows at a time, so that a long run's records need little memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from locust_kvcache.analysis.basics.mapped import release

FORMATS = ("csv", "parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
ROWS_AT_A_TIME = 131_072  # and of a row group of a Parquet file


def write_table(name: str, table: pd.DataFrame, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    written = []
    for kind in formats:
        path = folder / f"{name}.{kind}"
        if kind == "csv":
            _write_csv(table, path)
        elif len(table) <= ROWS_AT_A_TIME:
            table.to_parquet(path, index=False)
        else:
            _write_row_groups(table, path)
        written.append(path)
    return written


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for place, part in enumerate(_parts(table)):
            plain_cells(part).to_csv(file, index=False, header=place == 0)


def _write_row_groups(table: pd.DataFrame, path: Path) -> None:
    """As `to_parquet`, with a row group for each part."""
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    release()
    with pq.ParquetWriter(path, schema) as file:
        for part in _parts(table):
            file.write_table(pa.Table.from_pandas(part, schema=schema, preserve_index=False))


def _parts(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for first in range(0, max(1, len(table)), ROWS_AT_A_TIME):
        yield table.iloc[first : first + ROWS_AT_A_TIME]
        release()


def plain_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Texts that a spreadsheet would take for a formula begin with an apostrophe: some of them are a server's own words."""

    def plain(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].astype(object).map(plain) for name in texts})
