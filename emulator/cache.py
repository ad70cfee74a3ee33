"""A prefix cache over blocks of token ids: which tokens of a prompt it holds, with LRU eviction, as vLLM's."""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Sequence


def block_hashes(token_ids: Sequence[int], block_size: int) -> list[bytes]:
    """One hash per whole block, each over the block and the hash before it, so that equal hashes mean equal prefixes."""
    hashes: list[bytes] = []
    parent = b""
    for end in range(block_size, len(token_ids) + 1, block_size):
        block = token_ids[end - block_size : end]
        parent = hashlib.blake2b(parent + struct.pack(f"<{block_size}I", *block), digest_size=16).digest()
        hashes.append(parent)
    return hashes


class PrefixCache:
    """Blocks in LRU order. A prompt of n tokens can hit at most floor((n - 1) / block) blocks: one token is always computed."""

    def __init__(self, capacity_tokens: int, block_size: int) -> None:
        self.block_size = block_size
        self.capacity_blocks = capacity_tokens // block_size
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self.queries_tokens = 0
        self.hits_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, hashes: Sequence[bytes], prompt_tokens: int) -> int:
        """Cached tokens of a prompt, counted as queries and hits, and used just now."""
        usable = (prompt_tokens - 1) // self.block_size
        found = 0
        for block in hashes[:usable]:
            if block not in self._blocks:
                break
            self._blocks.move_to_end(block)
            found += 1
        self.queries_tokens += prompt_tokens
        self.hits_tokens += found * self.block_size
        return found * self.block_size

    def store(self, hashes: Sequence[bytes]) -> None:
        for block in hashes:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self.capacity_blocks:
            self._blocks.popitem(last=False)

    def reset(self) -> None:
        self._blocks.clear()
