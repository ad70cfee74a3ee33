"""Holds the rows of a trace in a few arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

OWN_BLOCK = 1 << 63  # numbers of blocks that no other row has: where a file has no ids
OWN_BITS = 20  # a prompt has fewer blocks than 2^20


@dataclass(frozen=True)
class Row:
    """One request: due time after the first one's, tokens, and the ids of its blocks."""

    due_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]


@dataclass
class TraceRows(Sequence[Row]):
    """All rows to replay, in the order of their due times, or session by session."""

    block_tokens: int
    due_s: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))  # where the ids of each row begin in `ids`
    ids: array[int] = field(default_factory=lambda: array("Q"))
    sessions: array[int] = field(default_factory=lambda: array("q", [0]))  # where each session begins, and the end
    after: list[tuple[int, ...]] = field(default_factory=list)  # per row: the turns of its session that it waits for
    wait_s: array[float] = field(default_factory=lambda: array("d"))
    lane: array[int] = field(default_factory=lambda: array("i"))
    notes: tuple[str, ...] = ()
    warning: str | None = None
    prefixes: str = ""
    block_size: int = 0  # of the file
    time_unit: str = ""

    def add(self, due_s: float, input_tokens: int, output_tokens: int, ids: Sequence[int]) -> None:
        """`ids` is empty where nothing is known of what the row shares."""
        self.due_s.append(due_s)
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(output_tokens)
        self.ids.extend(ids)
        self.starts.append(len(self.ids))

    def add_turn(self, after: tuple[int, ...], wait_s: float, lane: int) -> None:
        """How the row that was added last stands in its session."""
        self.after.append(after)
        self.wait_s.append(wait_s)
        self.lane.append(lane)

    def in_time(self) -> list[int]:
        """Rows in the order of their recorded times; those of a session stand together."""
        return sorted(range(len(self)), key=self.due_s.__getitem__)

    def known(self, row: int) -> Sequence[int]:
        """The ids that the file has for it."""
        return self.ids[self.starts[row] : self.starts[row + 1]]

    def blocks(self, row: int) -> tuple[int, ...]:
        """Those, or numbers that no other row has."""
        known = self.known(row)
        if known:
            return tuple(known)
        count = -(-self.input_tokens[row] // self.block_tokens)
        return tuple(range(first := OWN_BLOCK | row << OWN_BITS, first + count))

    def __len__(self) -> int:
        return len(self.due_s)

    def _row(self, row: int) -> Row:
        return Row(self.due_s[row], self.input_tokens[row], self.output_tokens[row], self.blocks(row))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(map(self._row, range(len(self))[index]))
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, range(len(self)))
