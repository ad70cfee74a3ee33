"""Collects records batch by batch into one table in which a column costs what it holds.

Numbers are float64, texts are categories (a byte each, where there are few), and a column that is missing everywhere costs nothing.
Columns stay arrays of their own: in one block of memory a column that is replaced would not be given back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from locust_kvcache.analysis.reading.record_schema import COLUMNS, FLAGS, NUMBERS, TEXTS

Array = NDArray[Any]  # float64, or the codes of texts: int8 or int32
_SMALL = 127  # most texts of a column whose codes fit a byte


class ColumnStack:
    def __init__(self) -> None:
        self._rows: list[int] = []  # of each batch
        self._chunks: dict[str, list[Array | None]] = {name: [] for name in COLUMNS}  # None: missing in the whole batch
        self._codes: dict[str, dict[str, int]] = {name: {} for name in TEXTS if name in COLUMNS}

    @property
    def batches(self) -> int:
        return len(self._rows)

    def keep(self, batches: int) -> None:
        """Forget all batches but the first so many."""
        del self._rows[batches:]
        for chunks in self._chunks.values():
            del chunks[batches:]

    def add(self, batch: pa.RecordBatch) -> None:
        """A batch with the columns of FRAME_SCHEMA."""
        self._rows.append(batch.num_rows)
        for name in COLUMNS:
            column = batch.column(name)
            if column.null_count == len(column):
                self._chunks[name].append(None)
            elif name in TEXTS:
                self._chunks[name].append(self._coded(name, column))
            else:
                number = column.cast(pa.int8()).cast(pa.float64()) if name in FLAGS else column.cast(pa.float64())
                self._chunks[name].append(np.array(number.to_numpy(zero_copy_only=False)))

    def _coded(self, name: str, column: pa.Array) -> Array:
        """The codes of a column of texts, alike in all batches; -1 is missing."""
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
        chunks, rows = self._chunks.pop(name), sum(self._rows)
        missing = np.float64("nan") if name in NUMBERS else np.int8(-1)
        empty = all(chunk is None for chunk in chunks)
        whole: Array = np.broadcast_to(missing, rows) if empty else _joined(chunks, self._rows, missing)
        if name in NUMBERS:
            return whole
        return pd.Categorical.from_codes(whole, pd.Index(list(self._codes[name]), dtype="str"), validate=False)


def _joined(chunks: list[Array | None], rows: list[int], missing: np.generic) -> Array:
    kind = np.result_type(missing, *(chunk for chunk in chunks if chunk is not None))
    whole = np.empty(sum(rows), dtype=kind)
    at = 0
    for place, count in enumerate(rows):
        chunk, chunks[place] = chunks[place], None
        whole[at : at + count] = missing if chunk is None else chunk
        at += count
    return whole
