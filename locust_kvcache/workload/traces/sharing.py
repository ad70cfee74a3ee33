"""The rows of a trace come in; what each shares with those before it goes out, as an infinite prefix cache would hold it.

A prompt's blocks are a path in a tree: a block is cached only behind the same blocks before it, whatever its own id. So it does not
matter whether a file's ids stand for a block alone (hashes of its content) or for it and all before it (Mooncake).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from locust_kvcache.workload.traces.rows import Row


@dataclass(frozen=True)
class Shared:
    """The longest prefix of a row that an earlier row has sent."""

    tokens: int
    source: int | None  # the first row that sent it


class PrefixTree:
    """Of each row only its own end is kept, from the block on that no row before it has: one entry a row, however long prompts are.

    `path_of` gives the blocks of an earlier row again.
    """

    def __init__(self, path_of: Callable[[int], Sequence[int]]) -> None:
        self._path_of = path_of
        self._branches: dict[
            tuple[int, int, int], int
        ] = {}  # (row that brought the block before, depth, block): the row that brought it

    def add(self, row: int, blocks: Sequence[int]) -> tuple[int, int | None]:
        """(blocks that earlier rows have sent, the first row that sent the last of them)."""
        owner, depth = -1, 0
        while depth < len(blocks):
            branch = (owner, depth, blocks[depth])
            found = self._branches.get(branch)
            if found is None:
                self._branches[branch] = row
                break
            owner, depth = found, _equal_until(self._path_of(found), blocks, depth + 1)
        return depth, owner if depth else None


def _equal_until(one: Sequence[int], other: Sequence[int], start: int) -> int:
    """Where two prompts that are equal up to `start` begin to differ; whole pieces are compared at once."""
    low, high = start, min(len(one), len(other))
    if one[low:high] == other[low:high]:
        return high
    while high - low > 1:  # equal up to low, different somewhere before high
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def shared_prefixes(rows: Sequence[Row], block_tokens: int) -> list[Shared]:
    """Per row, what an infinite cache would hold of it."""
    tree, found = PrefixTree(lambda row: rows[row].blocks), []
    for number, row in enumerate(rows):
        depth, source = tree.add(number, row.blocks)
        found.append(Shared(min(depth * block_tokens, row.input_tokens), source))
    return found


def chained(blocks: Iterable[int]) -> Iterator[int]:
    """A number for each block together with all before it."""
    before = 0
    for block in blocks:
        before = hash((before, block))
        yield before
