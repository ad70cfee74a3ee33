"""Makes request bodies as bytes, from pieces that are encoded already."""

from __future__ import annotations

import json
from typing import Any

from locust_kvcache.workload.turn import Turn

TOOL = "tool"
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


def encode_message(role: str, content: str) -> bytes:
    return json.dumps({"role": role, "content": content}, ensure_ascii=False).encode()


def encode_turn(turn: Turn, content: str) -> bytes:
    """What a turn adds; a result of a tool names the call in the answer before it."""
    if turn.role != TOOL:
        return encode_message("user", content)
    said = {"role": TOOL, "tool_call_id": _call_id(turn.carried[-1]), "content": content}
    return json.dumps(said, ensure_ascii=False).encode()


def encode_answer(turn: Turn, content: str, calls_tool: bool) -> bytes:
    """The model's answer to a turn; `calls_tool`: a message of role tool comes next, for which servers want the call."""
    if not calls_tool:
        return encode_message("assistant", content)
    call = {"id": _call_id(turn.number), "type": "function", "function": {"name": "run", "arguments": "{}"}}
    return json.dumps({"role": "assistant", "content": content, "tool_calls": [call]}, ensure_ascii=False).encode()


def _call_id(number: int) -> str:
    return f"call_{number:05d}"


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
