"""Selects rows of a large table without copying unneeded columns: a record has 60 columns, half a kilobyte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import is_repeated, kept_column, release


def chosen(records: pd.DataFrame, rows: pd.Series, columns: Iterable[str]) -> pd.DataFrame:
    """Of the rows of a mask these columns, as far as they are there."""
    taken = records[[name for name in dict.fromkeys(columns) if name in records]][rows]
    release()
    return taken


def rows_taken(records: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The rows of a mask with all columns, which are kept as those of a table that was read."""
    places = rows.to_numpy()
    index, count = records.index[places], int(places.sum())
    taken: dict[str, Any] = {}
    for name, column in records.items():
        values = column.array if isinstance(column.dtype, pd.CategoricalDtype) else column.to_numpy()
        if isinstance(values, np.ndarray) and is_repeated(values):
            taken[str(name)] = pd.Series(np.broadcast_to(values[0], count), index=index, copy=False)
        else:
            taken[str(name)] = kept_column(pd.Series(values[places], index=index, copy=False))
        release()
    return pd.DataFrame(taken, index=index, copy=False)


def by_group(
    records: pd.DataFrame, keys: Sequence[str], columns: Iterable[str]
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """(key, rows with these columns) of each group of equal keys, in the order in which they first occur; a missing key is no group.

    As pandas' groupby, which copies all rows before the first group: here one group is in memory at a time.
    """
    names = list(columns)
    for key, places in group_masks(records, keys):
        yield key, chosen(records, places, names)


def group_masks(records: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pd.Series]]:
    """(key, mask of its rows) of each group."""
    codes = np.zeros(len(records), dtype=np.int32)
    missing, uniques = np.zeros(len(records), dtype=bool), list[Any]()
    for name in keys:
        found, values = pd.factorize(records[name])
        missing |= found < 0
        codes = codes * len(values) + found.astype(np.int32)
        uniques.append(values)
    codes[missing] = -1
    order = pd.unique(codes)
    release()
    for code in order[order >= 0]:
        at, key = int(code), list[Any]()
        for values in reversed(uniques):
            at, place = divmod(at, len(values))
            key.append(values[place])
        yield tuple(reversed(key)), pd.Series(codes == code, index=records.index, copy=False)
