"""Keeps the long columns of a table in files without a name, mapped into memory: a long run needs no memory for all of them.

The operating system reads a part of a column when it is used; `release` gives the memory back, the file stays. The files are in
TMPDIR, else in /var/tmp, and are gone with the process. Mapped arrays cannot be written to. A column of one value takes no room: it
is repeated.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.contract.errors import BadInput

Array = NDArray[Any]
MAPPED_FROM_BYTES = 2 << 20  # of a column; a shorter one stays in memory
_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def folder() -> str:
    """Where the files are. /var/tmp is on a disk where /tmp may be in memory."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())


def is_repeated(values: Array) -> bool:
    """Whether an array is one value that is repeated without taking room."""
    return bool(len(values)) and values.strides == (0,)


def alike(values: Array) -> Array:
    """The array, or its one value repeated where all are the same; NaN is the same as NaN."""
    if not len(values) or is_repeated(values):
        return values
    first = values[0]
    same = (
        np.isnan(values).all()
        if values.dtype.kind == "f" and np.isnan(first)
        else values[-1] == first and (values == first).all()
    )
    return np.broadcast_to(first, len(values)) if same else values


def kept(values: Array) -> Array:
    """The same values, outside of the process's own memory where they are many."""
    values = alike(values)
    if is_repeated(values) or values.nbytes < MAPPED_FROM_BYTES:
        return values
    growing = Growing()
    growing.add(values)
    return growing.whole()


def kept_column(column: pd.Series) -> pd.Series:
    """A column with `kept` values, or codes where it has categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        values: Any = pd.Categorical.from_codes(kept(column.cat.codes.to_numpy()), dtype=column.dtype, validate=False)
    elif isinstance(column.dtype, np.dtype) and column.dtype.kind in "fib":
        values = kept(column.to_numpy())
    else:
        return column
    return pd.Series(values, index=column.index, copy=False)


def release() -> None:
    """Give back the memory of what was read of all mapped columns; what is used again is read again."""
    for mapping in list(_mapped):
        mapping.madvise(mmap.MADV_DONTNEED)


class Growing:
    """A column of which part after part comes: in memory at first, in a file as soon as it is long."""

    def __init__(self) -> None:
        self._lengths: list[int] = []  # of all parts
        self._held: list[Array] = []  # the parts that are not in the file
        self._file: IO[bytes] | None = None
        self._kind = np.dtype(np.float64)

    def add(self, part: Array) -> None:
        part = alike(part)
        self._kind = part.dtype
        self._lengths.append(len(part))
        self._held.append(part)
        if self._file is not None or sum(0 if is_repeated(each) else each.nbytes for each in self._held) >= MAPPED_FROM_BYTES:
            self._write()

    def keep(self, parts: int) -> None:
        """Forget all parts but the first so many."""
        written = len(self._lengths) - len(self._held)
        del self._held[max(0, parts - written) :]
        del self._lengths[parts:]
        if self._file is not None and parts < written:
            self._file.seek(sum(self._lengths) * self._kind.itemsize)
            self._file.truncate()

    def whole(self) -> Array:
        """All parts as one array; nothing can be added after that."""
        if self._file is None:
            parts = [part for part in self._held if len(part)] or [np.empty(0, dtype=self._kind)]
            if all(map(is_repeated, parts)) and is_repeated(firsts := alike(np.array([part[0] for part in parts]))):
                return np.broadcast_to(firsts[0], sum(self._lengths))
            return np.concatenate(parts)
        with self._file as file:
            file.flush()
            mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        _mapped.add(mapping)
        return np.frombuffer(mapping, dtype=self._kind)

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder())  # noqa: SIM115  it lives as long as the column
            for part in self._held:
                self._file.write(np.ascontiguousarray(part).data)
        except OSError as error:
            raise BadInput(
                f"{folder()}: cannot hold the columns of the records: {error.strerror}. Set TMPDIR to a folder with more room; a report "
                "takes up to 400 bytes per record there."
            ) from error
        self._held = []
