"""Converts tables and numpy values to plain Python rows for JSON, text and charts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """Python's own types only; NaN, NA and infinities become None, as JSON has no word for them."""
    if isinstance(value, float):  # numpy's too
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, pd.DataFrame):
        names = [str(name) for name in value.columns]
        columns = [[plain(entry) for entry in column.tolist()] for _, column in value.items()]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if value is pd.NA else value


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as dicts, missing values as None."""
    rows: list[dict[str, Any]] = plain(table)
    return rows


def with_scenario_text(records: pd.DataFrame) -> pd.DataFrame:
    """Scenarios as texts in place of categories. `astype` of the whole frame copies each of its 60 columns, at twenty times the time."""
    return records.assign(scenario=records["scenario"].astype(str))


def readable(value: Any) -> Any:
    """A JSON value whose texts can be written as UTF-8: half a character of a server's text becomes ?."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {readable(key): readable(entry) for key, entry in value.items()}
    return [readable(entry) for entry in value] if isinstance(value, list) else value
