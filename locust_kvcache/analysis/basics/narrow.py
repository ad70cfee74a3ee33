"""Takes rows of a large table without copying what is not needed: a record has 60 columns, half a kilobyte."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd


def chosen(records: pd.DataFrame, rows: pd.Series, columns: Iterable[str]) -> pd.DataFrame:
    """Of the rows of a mask these columns, as far as they are there."""
    return records[[name for name in columns if name in records]][rows]


def rows_taken(records: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The rows of a mask with all columns. A column that is missing everywhere is one value that is repeated, and stays that."""
    kept = rows.to_numpy()
    index, count = records.index[kept], int(kept.sum())
    taken: dict[str, Any] = {}
    for name, column in records.items():
        values = column.array if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy()
        repeated = isinstance(values, np.ndarray) and values.strides == (0,) and len(values)
        taken[str(name)] = pd.Series(np.broadcast_to(values[0], count) if repeated else values[kept], index=index, copy=False)
    return pd.DataFrame(taken, index=index, copy=False)
