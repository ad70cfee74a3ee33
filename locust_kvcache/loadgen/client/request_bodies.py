"""Makes request bodies as bytes, from pieces that are encoded already."""

from __future__ import annotations

import json
from typing import Any

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


def encode_message(role: str, content: str) -> bytes:
    return json.dumps({"role": role, "content": content}, ensure_ascii=False).encode()


def folded(system: bytes, user: bytes) -> bytes:
    """An encoded system message and the user's that follows it, as one of the user's."""
    text = system.removeprefix(b'{"role": "system", "content": "').removesuffix(b'"}')
    return user.replace(b'"content": "', b'"content": "' + text + b"\\n\\n", 1)


def body_tail(parameters: dict[str, Any]) -> bytes:
    return b"," + json.dumps(parameters, separators=(",", ":")).encode()[1:]


def chat_body(model: str, messages: list[bytes], tail: bytes) -> bytes:
    return b'{"model":' + json.dumps(model).encode() + b',"messages":[' + b",".join(messages) + b"]" + tail


def completion_body(model: str, prompt: str, tail: bytes) -> bytes:
    return b'{"model":' + json.dumps(model).encode() + b',"prompt":' + json.dumps(prompt, ensure_ascii=False).encode() + tail


def ids_body(model: str, pieces: list[bytes], tail: bytes) -> bytes:
    """A prompt of token ids: no tokenizer stands between the plan and the cache."""
    return b'{"model":' + json.dumps(model).encode() + b',"prompt":[' + b",".join(pieces) + b"]" + tail


def encode_ids(ids: list[int]) -> bytes:
    return ",".join(map(str, ids)).encode()
