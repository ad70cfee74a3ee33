"""Reads the request bodies of the APIs that the emulator speaks: the prompt's token ids, and how many tokens are asked for."""

from __future__ import annotations

from typing import Any

from locust_kvcache.emulator import tokenizer
from locust_kvcache.emulator.admin import Refused

CHAT, COMPLETIONS, RESPONSES, MESSAGES, GENERATE = "chat", "completions", "responses", "messages", "generate"
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETIONS,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/inference/v1/generate": GENERATE,
}
Message = dict[str, Any]


def error_body(api: str, status: int, kind: str, message: str) -> dict[str, Any]:
    """As each API words a refusal."""
    if api == MESSAGES:
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def prompt_ids(body: dict[str, Any], api: str) -> list[int]:
    """The same prompt has the same ids in every API that takes messages."""
    if api in (COMPLETIONS, GENERATE):
        return _ids(body, "prompt" if api == COMPLETIONS else "token_ids")
    messages = {CHAT: _chat, RESPONSES: _responses, MESSAGES: _messages}[api](body)
    if not messages or not all(isinstance(one, dict) and "role" in one for one in messages):
        raise Refused(400, "BadRequestError", f"{_place(api)!r} must be a non-empty list of messages with a role")
    return tokenizer.encode(tokenizer.chat_text(messages))


def asked_tokens(body: dict[str, Any], api: str) -> int:
    if api == GENERATE:
        wanted: Any = (body.get("sampling_params") or {}).get("max_tokens", 16)
    elif api == RESPONSES:
        wanted = body.get("max_output_tokens") or 16
    else:
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or (None if api == MESSAGES else 16)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise Refused(400, "BadRequestError", f"max_tokens must be at least 1, got {wanted!r}")
    return wanted


def _place(api: str) -> str:
    return "input" if api == RESPONSES else "messages"


def _ids(body: dict[str, Any], place: str) -> list[int]:
    prompt = body.get(place)
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) and place == "prompt" else prompt
    if not isinstance(ids, list) or not ids or not all(isinstance(token, int) and 0 <= token < 2**32 for token in ids):
        raise Refused(
            400, "BadRequestError", f"{place!r} must be {'text or ' if place == 'prompt' else ''}a non-empty list of token ids"
        )
    return ids


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _chat(body: dict[str, Any]) -> list[Message]:
    return _list(body.get("messages"))


def _text(content: Any) -> str:
    """Of a content that is text or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in _list(content) if isinstance(part, dict))


def _responses(body: dict[str, Any]) -> list[Message]:
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else _list(given)
    first = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    return [*first, *filter(None, map(_response_item, items))]


def _response_item(item: Any) -> Message | None:
    kind = item.get("type", "message") if isinstance(item, dict) else ""
    if kind == "function_call":
        return None  # stands with the assistant's text before it
    if kind == "function_call_output":
        return {"role": "tool", "content": _text(item.get("output"))}
    return {**item, "content": _text(item.get("content"))} if isinstance(item, dict) else {}


def _messages(body: dict[str, Any]) -> list[Message]:
    system = _text(body.get("system"))
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *(message for one in _list(body.get("messages")) for message in _of_blocks(one))]


def _of_blocks(message: Any) -> list[Message]:
    if not isinstance(message, dict):
        return [{}]
    results = [part for part in _list(message.get("content")) if isinstance(part, dict) and part.get("type") == "tool_result"]
    if results:
        return [{"role": "tool", "content": _text(part.get("content"))} for part in results]
    return [{**message, "content": _text(message.get("content"))}]
