"""Remembers which planned requests of a round have their record, in one byte each."""

from __future__ import annotations

from collections.abc import Iterator, Set


class IndexSet(Set[int]):
    def __init__(self) -> None:
        self._here = bytearray()
        self._count = 0

    def add(self, index: int) -> bool:
        """Whether it was not there before."""
        if index >= len(self._here):
            self._here.extend(bytes(max(index + 1 - len(self._here), len(self._here))))
        new = not self._here[index]
        self._here[index] = 1
        self._count += new
        return new

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and 0 <= index < len(self._here) and bool(self._here[index])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return (index for index, here in enumerate(self._here) if here)
