"""Stores many session numbers in little memory, on the wire and in queues.

A deal of half a million sessions is 2 MB of numbers and, as it repeats itself, a few kilobytes of them compressed.
"""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence


def pack(ids: Sequence[int]) -> bytes:
    """For a message: the step from each number to the next, compressed."""
    steps = array("i", map(int.__sub__, ids, itertools.chain((0,), ids)))
    return zlib.compress(steps.tobytes(), 1)


def unpack(packed: bytes) -> array[int]:
    steps = array("i")
    steps.frombytes(zlib.decompress(packed))
    return array("i", itertools.accumulate(steps))


class SessionLine:
    """Sessions in plan order, taken from the front; 4 bytes each."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._ids = array("i", ids)
        self._taken = 0

    def __len__(self) -> int:
        return len(self._ids) - self._taken

    def __getitem__(self, place: int) -> int:
        """The one at a place, 0 is the front."""
        return self._ids[self._taken + place]

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._ids, self._taken, None)

    def take(self, count: int) -> list[int]:
        """The next `count` of them, or all that are left."""
        found = self._ids[self._taken : self._taken + count].tolist()
        self._taken += len(found)
        return found

    def add(self, ids: Iterable[int]) -> None:
        """Each in its place in plan order."""
        self._ids, self._taken = array("i", sorted(itertools.chain(self, ids))), 0

    def drop(self, ids: Sequence[int]) -> bool:
        """Take these out. As a rule they are the front, in this order: whether they were."""
        at_the_front = self._ids[self._taken : self._taken + len(ids)].tolist() == list(ids)
        if at_the_front:
            self._taken += len(ids)
        else:
            gone = set(ids)
            self._ids, self._taken = array("i", (one for one in self if one not in gone)), 0
        return at_the_front

    def clear(self) -> None:
        self._ids, self._taken = array("i"), 0
