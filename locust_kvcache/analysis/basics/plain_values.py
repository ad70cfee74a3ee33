"""Tables and numpy values come in, plain Python rows go out: what JSON, text and charts are made from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """Python's own types only; NaN, NA and infinities become None, as JSON has no word for them."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as dicts, missing values as None."""
    rows: list[dict[str, Any]] = plain(table)
    return rows
