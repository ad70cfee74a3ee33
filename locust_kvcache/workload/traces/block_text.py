"""Makes the token ids that stand for a trace's block, whose text the trace does not have."""

from __future__ import annotations

import random
import zlib

TOKEN_IDS = range(1000, 5000)  # plain words in every vocabulary of 8,000 and more: no bytes, no special tokens


def block_ids(nonce: str, seed: int, block: int, block_tokens: int) -> list[int]:
    """The token ids of one block: a pure function of its arguments, different in each run by its nonce."""
    return random.Random(f"{nonce}/{seed}/block/{block}").choices(TOKEN_IDS, k=block_tokens)


def text_ids(text: str) -> list[int]:
    """Token ids that stand for a text where no tokenizer is at hand: one for each of its words."""
    return [TOKEN_IDS[zlib.crc32(word.encode()) % len(TOKEN_IDS)] for word in text.split()]
