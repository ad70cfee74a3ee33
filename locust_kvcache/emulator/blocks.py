"""Emulates the GPU prefix cache: blocks shared by reference count and evicted as in vLLM's BlockPool.

A block is found by a hash over its tokens and all tokens before it, so equal hashes mean equal prefixes. Blocks of a finished request
join the free queue, last block first and blocks without a hash at its front; they stay matchable until they are handed out again.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence


def block_hashes(token_ids: Sequence[int], block_size: int, parent: bytes = b"") -> list[bytes]:
    """One hash per whole block, each over the block and the hash before it; `parent` continues or salts the chain."""
    hashes: list[bytes] = []
    pack = struct.Struct(f"<{block_size}I").pack
    for end in range(block_size, len(token_ids) + 1, block_size):
        parent = hashlib.blake2b(parent + pack(*token_ids[end - block_size : end]), digest_size=16).digest()
        hashes.append(parent)
    return hashes


class BlockPool:
    def __init__(self, blocks: int) -> None:
        self.blocks = blocks  # usable ones: vLLM keeps one more as the null block
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self._references = [0] * blocks
        self._hash_of: dict[int, bytes] = {}
        self._holders: dict[bytes, dict[int, None]] = {}  # equal blocks computed side by side are kept more than once

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    @property
    def cached_blocks(self) -> int:
        return len(self._hash_of)

    def __contains__(self, block_hash: bytes) -> bool:
        return block_hash in self._holders

    def held_hashes(self) -> list[str]:
        return [block_hash.hex() for block_hash in self._holders]

    def match(self, hashes: Iterable[bytes], limit: int) -> list[int]:
        """Block ids of the longest known prefix, at most `limit`: floor((n - 1) / block size), since one token is always computed."""
        found: list[int] = []
        for block_hash in hashes:
            holders = self._holders.get(block_hash)
            if holders is None or len(found) == limit:
                break
            found.append(next(iter(holders)))
        return found

    def missing_when_held(self, found: Sequence[int]) -> int:
        """How many of the found blocks would leave the free queue."""
        return sum(block in self._free for block in found)

    def hold(self, found: Iterable[int]) -> None:
        for block in found:
            self._references[block] += 1
            self._free.pop(block, None)

    def take(self, count: int) -> list[int]:
        """New blocks from the front of the free queue; what they held is forgotten."""
        taken = [self._free.popitem(last=False)[0] for _ in range(count)]
        for block in taken:
            self._forget(block)
            self._references[block] = 1
        return taken

    def register(self, block: int, block_hash: bytes) -> None:
        if block not in self._hash_of:
            self._hash_of[block] = block_hash
            self._holders.setdefault(block_hash, {})[block] = None

    def release(self, blocks: Sequence[int]) -> None:
        """Give a request's blocks back, in the order in which it filled them."""
        front: list[int] = []
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block]:
                continue
            if block in self._hash_of:
                self._free[block] = None
            else:
                front.append(block)
        for block in reversed(front):
            self._free[block] = None
            self._free.move_to_end(block, last=False)

    def reset(self) -> bool:
        """Forget all prefixes; refused (False), as in vLLM, while a request holds blocks."""
        if len(self._free) != self.blocks:
            return False
        self._hash_of.clear()
        self._holders.clear()
        return True

    def _forget(self, block: int) -> None:
        block_hash = self._hash_of.pop(block, None)
        if block_hash is None:
            return
        holders = self._holders[block_hash]
        del holders[block]
        if not holders:
            del self._holders[block_hash]
