"""Tokenizes text without a model's files, the same way on every machine.

A token is a run of at most 8 letters or digits together with one space before it, one other printable character, or one line break.
Ids are the first 4 bytes of the token's BLAKE2 hash, so no vocabulary is needed.
"""

from __future__ import annotations

import functools
import hashlib
import re

_TOKEN = re.compile(r" ?[A-Za-z0-9]{1,8}|\n| ?[^\sA-Za-z0-9]|[^\S\n]")


@functools.lru_cache(maxsize=100_000)
def _token_id(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")


def tokens_of(text: str) -> list[str]:
    return _TOKEN.findall(text)


def encode(text: str) -> list[int]:
    return [_token_id(token) for token in _TOKEN.findall(text)]


def chat_text(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """The prompt text of a conversation in a ChatML-like template."""
    parts = [f"<|im_start|>{message['role']}\n{message.get('content') or ''}<|im_end|>\n" for message in messages]
    return "".join(parts) + ("<|im_start|>assistant\n" if add_generation_prompt else "")
