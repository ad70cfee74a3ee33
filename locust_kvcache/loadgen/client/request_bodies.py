"""Makes request bodies as bytes, from pieces that are encoded already, as each API wants them.

Messages are encoded once, in the dialect of their API; parameters have one name here (`max_tokens`, ...) and are named as the API does
when a body is made.
"""

from __future__ import annotations

import json
from typing import Any

from locust_kvcache.workload.apis import CHAT, COMPLETIONS, GENERATE, MESSAGES, RESPONSES
from locust_kvcache.workload.turn import Turn

TOOL = "tool"
TOOL_NAME = "run"
PATHS = {
    CHAT: "/v1/chat/completions",
    COMPLETIONS: "/v1/completions",
    RESPONSES: "/v1/responses",
    MESSAGES: "/v1/messages",
    GENERATE: "/inference/v1/generate",
}
HEADERS = {MESSAGES: (("anthropic-version", "2023-06-01"),)}  # that an API wants beside those of the deployment
SAMPLING = ("max_tokens", "temperature", "ignore_eos")  # stand in an object of their own in a body of generate
_SYSTEM_START, _MESSAGE_END = b'{"role": "system", "content": ', b"}"


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def encode_message(role: str, content: str) -> bytes:
    return _encoded({"role": role, "content": content})


def encode_turn(turn: Turn, content: str, api: str = CHAT) -> bytes:
    """What a turn adds; a result of a tool names the call in the answer before it."""
    if turn.role != TOOL:
        return encode_message("user", content)
    call = _call_id(turn.carried[-1])
    if api == RESPONSES:
        return _encoded({"type": "function_call_output", "call_id": call, "output": content})
    if api == MESSAGES:
        return _encoded({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": content}]})
    return _encoded({"role": TOOL, "tool_call_id": call, "content": content})


def encode_answer(turn: Turn, content: str, calls_tool: bool, api: str = CHAT) -> bytes:
    """The model's answer to a turn; `calls_tool`: a message of role tool comes next, for which servers want the call."""
    if not calls_tool:
        return encode_message("assistant", content)
    call = _call_id(turn.number)
    if api == RESPONSES:
        item = {"type": "function_call", "call_id": call, "name": TOOL_NAME, "arguments": "{}"}
        return encode_message("assistant", content) + b"," + _encoded(item)
    if api == MESSAGES:
        said = [{"type": "text", "text": content}] if content else []
        parts = [*said, {"type": "tool_use", "id": call, "name": TOOL_NAME, "input": {}}]
        return _encoded({"role": "assistant", "content": parts})
    calls = [{"id": call, "type": "function", "function": {"name": TOOL_NAME, "arguments": "{}"}}]
    return _encoded({"role": "assistant", "content": content, "tool_calls": calls})


def _call_id(number: int) -> str:
    return f"call_{number:05d}"


def folded(system: bytes, user: bytes) -> bytes:
    """An encoded system message and the user's that follows it, as one of the user's."""
    text = system.removeprefix(b'{"role": "system", "content": "').removesuffix(b'"}')
    return user.replace(b'"content": "', b'"content": "' + text + b"\\n\\n", 1)


def as_sent(parameters: dict[str, Any], api: str) -> dict[str, Any]:
    """Parameters by the names of the API, which tells usage without being asked in some."""
    if api == GENERATE:
        sampling = {key: value for key, value in parameters.items() if key in SAMPLING}
        return {"sampling_params": sampling, **{key: value for key, value in parameters.items() if key not in SAMPLING}}
    if api not in (RESPONSES, MESSAGES):
        return parameters
    longest = "max_output_tokens" if api == RESPONSES else "max_tokens"
    names = {"max_tokens": longest, "max_completion_tokens": longest}
    kept = {names.get(key, key): value for key, value in parameters.items() if key != "stream_options"}
    return {"store": False, **kept} if api == RESPONSES else kept  # OpenAI keeps responses unless it is told not to


def body_tail(parameters: dict[str, Any], api: str = CHAT) -> bytes:
    return b"," + json.dumps(as_sent(parameters, api), separators=(",", ":")).encode()[1:]


def messages_body(model: str, messages: list[bytes], tail: bytes, api: str = CHAT) -> bytes:
    """Of an API that takes conversations; Anthropic's has the system text beside the messages."""
    system = b""
    if api == MESSAGES and messages and messages[0].startswith(_SYSTEM_START):
        text = messages[0].removeprefix(_SYSTEM_START).removesuffix(_MESSAGE_END)
        system, messages = b',"system":' + text, messages[1:]
    key = b',"input":[' if api == RESPONSES else b',"messages":['
    return b'{"model":' + json.dumps(model).encode() + system + key + b",".join(messages) + b"]" + tail


def completion_body(model: str, prompt: str, tail: bytes) -> bytes:
    return b'{"model":' + json.dumps(model).encode() + b',"prompt":' + _encoded(prompt) + tail


def ids_body(model: str, pieces: list[bytes], tail: bytes, api: str = COMPLETIONS) -> bytes:
    """A prompt of token ids: no tokenizer stands between the plan and the cache."""
    key = b',"token_ids":[' if api == GENERATE else b',"prompt":['
    return b'{"model":' + json.dumps(model).encode() + key + b",".join(pieces) + b"]" + tail


def encode_ids(ids: list[int]) -> bytes:
    return ",".join(map(str, ids)).encode()
