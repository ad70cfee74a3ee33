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
from locust_kvcache.workload.traces.values import MOST_TOKENS, hashed, length_value

OUTPUT_KEYS = ("output_length", "max_completion_tokens", "max_tokens")


def text_of(row: dict[str, Any]) -> Any:
    """AIPerf's `text_input`, `text`, or `texts` (plain, or named with their contents); None where there is none."""
    for key in ("text_input", "text"):
        if row.get(key) is not None:
            return row[key]
    texts = row.get("texts")
    if not isinstance(texts, list) or not texts:
        return texts
    said = [part for one in texts for part in (one.get("contents") or [] if isinstance(one, dict) else [one])]
    return "\n".join(said) if all(isinstance(one, str) for one in said) else texts


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    """The request itself, where the row holds one, alone or in a list (GenAI-Perf)."""
    found = row.get("payload")
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else row


def texts_of(row: dict[str, Any], where: str) -> list[str] | None:
    """The text of a prompt, or of each message with its role; None where the row has neither."""
    asked = _payload(row)
    said = text_of(row)
    if said is None:
        said = asked.get("prompt") if asked is not row else None
    if said is not None:
        if not isinstance(said, str) or not said.strip():
            key = next(key for key in ("text_input", "text", "texts", "payload") if row.get(key) is not None)
            raise BadInput(f"{where}: key {key!r} is {said!r:.60}; expected text that is not empty")
        return [said]
    messages = asked.get("messages")
    if messages is None:
        return None
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadInput(f"{where}: key 'messages' is {messages!r:.60}; expected a list of messages")
    return [f"{message.get('role')}\n{_content(message)}\n" for message in messages]


def asked_tokens(row: dict[str, Any], where: str) -> int:
    """The answer's length: as the file has it, else what the request asks for at most."""
    found = ((key, one.get(key)) for one in (row, _payload(row)) for key in OUTPUT_KEYS)
    key, value = next(((key, value) for key, value in found if value is not None), (OUTPUT_KEYS[0], None))
    if value is None:
        raise BadInput(
            f"{where}: key 'output_length' is missing; expected a whole number of tokens, as an answer's length is replayed (or "
            "'max_tokens')"
        )
    return length_value(value, key, where, 0)


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
