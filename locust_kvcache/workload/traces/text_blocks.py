"""Estimates length and blocks of a trace row that carries text instead of lengths.

Equal beginnings have equal ids.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.estimate import PIECE
from locust_kvcache.workload.traces.values import MOST_TOKENS, hashed


def texts_of(row: dict[str, Any], where: str) -> list[str] | None:
    """The text of a prompt, or of each message with its role; None where the row has neither."""
    if row.get("text_input") is not None:
        if not isinstance(row["text_input"], str) or not row["text_input"].strip():
            raise BadInput(f"{where}: key 'text_input' is {row['text_input']!r:.60}; expected text that is not empty")
        return [row["text_input"]]
    payload = row.get("payload")
    messages = payload.get("messages") if isinstance(payload, dict) else row.get("messages")
    if messages is None:
        return None
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadInput(f"{where}: key 'messages' is {messages!r:.60}; expected a list of messages")
    return [f"{message.get('role')}\n{_content(message)}\n" for message in messages]


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def text_blocks(texts: Sequence[str], block_size: int) -> tuple[int, array[int]]:
    """(estimated tokens, ids). A block's id stands for its text and all before it."""
    text = "".join(texts)
    ends = [match.end() for match in itertools.islice(PIECE.finditer(text), MOST_TOKENS)] or [len(text)]
    blocks, before = array("Q"), 0
    for start in range(0, len(ends), block_size):
        stop = min(start + block_size, len(ends))
        before = hashed(f"{before} {text[ends[start - 1] if start else 0 : ends[stop - 1]]}")
        blocks.append(before)
    return len(ends), blocks
