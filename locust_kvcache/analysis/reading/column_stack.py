"""Collects records batch by batch into one table with compact columns.

Numbers are float64, texts are categories (a byte each, where there are few), and a column of one value costs nothing, nor does one that is
missing everywhere. Long columns are in files (basics/mapped.py). Columns stay arrays of their own: in one block of memory a column that is
replaced would not be given back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.mapped import Growing, kept
from locust_kvcache.analysis.reading.record_schema import COLUMNS, FLAGS, NUMBERS, TEXTS

Array = NDArray[Any]  # float64, or the codes of texts: int8 or int32
_SMALL = 127  # most texts of a column whose codes fit a byte
_NAN, _NONE = np.float64("nan"), np.int8(-1)


class ColumnStack:
    def __init__(self) -> None:
        self._rows: list[int] = []  # of each batch
        self._numbers = {name: Growing() for name in NUMBERS}
        self._texts: dict[str, list[Array]] = {name: [] for name in TEXTS if name in COLUMNS}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in self._texts}

    @property
    def batches(self) -> int:
        return len(self._rows)

    def keep(self, batches: int) -> None:
        """Forget all batches but the first so many."""
        del self._rows[batches:]
        for growing in self._numbers.values():
            growing.keep(batches)
        for parts in self._texts.values():
            del parts[batches:]

    def add(self, batch: pa.RecordBatch) -> None:
        """A batch with the columns of FRAME_SCHEMA."""
        self._rows.append(batch.num_rows)
        for name, growing in self._numbers.items():
            growing.add(_number(name, batch.column(name)))
        for name, parts in self._texts.items():
            parts.append(self._coded(name, batch.column(name)))

    def _coded(self, name: str, column: pa.Array) -> Array:
        """The codes of a column of texts, alike in all batches; -1 is missing."""
        if column.null_count == len(column):
            return np.broadcast_to(_NONE, len(column))
        known, coded = self._codes[name], column.dictionary_encode()
        table = np.array([known.setdefault(text, len(known)) for text in coded.dictionary.to_pylist()] + [-1], dtype=np.int32)
        codes: Array = table[coded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
        return codes.astype(np.int8) if len(known) <= _SMALL else codes

    def frame(self) -> pd.DataFrame:
        """The table; the batches are given up column by column."""
        index = pd.RangeIndex(sum(self._rows))
        columns = {name: pd.Series(self._column(name), index=index, copy=False) for name in COLUMNS}
        return pd.DataFrame(columns, copy=False)

    def _column(self, name: str) -> Array | pd.Categorical:
        if name in NUMBERS:
            return self._numbers.pop(name).whole()
        parts = self._texts.pop(name)
        codes = kept(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int8)
        return pd.Categorical.from_codes(codes, pd.Index(list(self._codes[name]), dtype="str"), validate=False)


def _number(name: str, column: pa.Array) -> Array:
    if column.null_count == len(column):
        return np.broadcast_to(_NAN, len(column))
    number = column.cast(pa.int8()).cast(pa.float64()) if name in FLAGS else column.cast(pa.float64())
    return np.array(number.to_numpy(zero_copy_only=False))
