"""Computes what each row of a trace shares with earlier ones, as in an unlimited prefix cache.

A prompt's blocks are a path in a tree: a block is cached only behind the same blocks before it, whatever its own id. So it does not
matter whether a file's ids stand for a block alone (hashes of its content) or for it and all before it (Mooncake). A prompt's last block
may be cut: of it only what was sent is there for a prompt that has the whole block.
"""

from __future__ import annotations

from array import array
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

    `path_of` gives the blocks of an earlier row again. Rows are added in order, from 0 on.
    """

    def __init__(self, path_of: Callable[[int], Sequence[int]], block_tokens: int) -> None:
        self._path_of, self._block_tokens = path_of, block_tokens
        self._branches: dict[
            tuple[int, int, int], int
        ] = {}  # (row that brought the block before, depth, block): the row that brought it
        self._ends: array[int] = array("i")  # per row, the most tokens that any row has sent of its last block, which may be cut

    def add(self, row: int, blocks: Sequence[int], tokens: int, salt: int = 0) -> Shared:
        """`salt`: rows with another one share nothing."""
        owner, depth, last = -1 - salt, 0, tokens - (len(blocks) - 1) * self._block_tokens
        shared_tokens = 0
        while depth < len(blocks):
            found = self._branches.setdefault((owner, depth, blocks[depth]), row)
            if found == row:
                break
            path = self._path_of(found)
            owner, depth = found, _equal_until(path, blocks, depth + 1)
            end = self._ends[owner] if depth == len(path) else self._block_tokens
            shared_tokens = min(tokens, (depth - 1) * self._block_tokens + end)
            if depth == len(path):
                self._ends[owner] = max(end, last if depth == len(blocks) else self._block_tokens)
        self._ends.append(last)
        return Shared(shared_tokens, owner if depth else None)


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
    tree = PrefixTree(lambda row: rows[row].blocks, block_tokens)
    return [tree.add(number, row.blocks, row.input_tokens) for number, row in enumerate(rows)]


def chained(blocks: Iterable[int]) -> Iterator[int]:
    """A number for each block together with all before it."""
    before = 0
    for block in blocks:
        before = hash((before, block))
        yield before
