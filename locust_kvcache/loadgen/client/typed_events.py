"""Converts the typed events of OpenAI's /v1/responses and Anthropic's /v1/messages to chunks of a chat stream.

An event comes in, choices and token counts go out, so that output, first token, finish reason and failures are judged by the same code
for all APIs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from locust_kvcache.loadgen.client.event_facts import reported_cached_tokens, said_by

_MESSAGES = frozenset(
    "message_start content_block_start content_block_delta content_block_stop message_delta message_stop message ping".split()
)
_TEXT, _REASONING, _CALL = "content", "reasoning", "call"
_RESPONSE_DELTAS = {
    "output_text": _TEXT,
    "refusal": "refusal",
    "reasoning_text": _REASONING,
    "reasoning_summary_text": _REASONING,
    "function_call_arguments": _CALL,
    "custom_tool_call_input": _CALL,
    "mcp_call_arguments": _CALL,
    "code_interpreter_call_code": _CALL,
}
_BLOCK_DELTAS = {
    "text_delta": ("text", _TEXT),
    "thinking_delta": ("thinking", _REASONING),
    "input_json_delta": ("partial_json", _CALL),
}
_LABELS = ("signature_delta", "citations_delta")  # describe the output, and are none
_PARTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text", "function_call_arguments": "arguments"}
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_UNDER_WAY = ("in_progress", "queued")


class Said(NamedTuple):
    """`choices` as in a chat stream. `counts`: prompt, output, cached; of Anthropic uncached and written in place of prompt."""

    choices: list[dict[str, Any]]
    counts: dict[str, Any] = {}  # noqa: RUF012  never changed
    error: str = ""
    response_id: str | None = None
    part: dict[str, Any] | None = None  # a part of the output as a whole, after its pieces: output where there were no pieces
    whole: dict[str, Any] | None = None  # all of the output, at its end: output where nothing came before


NOTHING = Said([])


def typed_event(event: dict[str, Any]) -> Said | None:
    """What an event says; None for an event of another API, and for errors, which all APIs say alike."""
    if event.get("object") == "response" and "output" in event:  # a whole answer, not streamed
        return _response_end(event, _whole_response(event))
    kind = event.get("type")
    if not isinstance(kind, str):
        return None
    if kind.startswith("response."):
        return _response_event(kind, event)
    return _message_event(kind, event) if kind in _MESSAGES and "choices" not in event else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _delta(field: str, value: Any) -> dict[str, Any]:
    if field == _CALL:
        return {"delta": {"tool_calls": [{"function": {"arguments": value}}]}}
    return {"delta": {field: value}}


def _called(name: Any) -> dict[str, Any]:
    return {"delta": {"tool_calls": [{"function": {"name": name}}]}}


# -- OpenAI's responses


def _response_event(kind: str, event: dict[str, Any]) -> Said:
    what, _, last = kind.removeprefix("response.").rpartition(".")
    if last == "delta":
        field = _RESPONSE_DELTAS.get(what)
        value = event.get("delta")
        return Said([_delta(field, value) if field else {"delta": {what: value}}])
    if last == "done" and what in _PARTS:
        return Said([], part=_delta(_RESPONSE_DELTAS[what], event.get(_PARTS[what]))["delta"])
    response = _dict(event.get("response"))
    if kind in _ENDS:
        whole = _whole_response(response) if response.get("output") else None
        return _response_end(response, of_event=last)._replace(whole=whole)
    if kind == "response.output_item.done":
        return Said([], whole=_whole_response({"output": [event.get("item")]}))
    if kind == "response.content_part.done":
        return Said([], whole={"content": [event.get("part")]})
    if kind == "response.output_item.added":
        item = _dict(event.get("item"))
        return Said([_called(item.get("name"))]) if str(item.get("type", "")).endswith("_call") else NOTHING
    return Said([{"delta": {}}], response_id=response.get("id")) if kind == "response.created" else NOTHING


def _response_end(response: dict[str, Any], output: dict[str, Any] | None = None, of_event: str | None = None) -> Said:
    """An event that ends the response says how by its name, where the response has no status, or still that of its beginning."""
    error = response.get("error")
    if error:
        return Said([], _response_counts(response), said_by(error))
    reason = _dict(response.get("incomplete_details")).get("reason") or response.get("status")
    if of_event is not None and (not isinstance(reason, str) or reason in _UNDER_WAY):
        reason = of_event
    choices = [{"delta": output or {}, "finish_reason": reason}]
    return Said(choices, _response_counts(response), response_id=response.get("id"))


def _response_counts(response: dict[str, Any]) -> dict[str, Any]:
    """Some servers have the names of a chat here."""
    usage = _dict(response.get("usage"))
    cached = _dict(usage.get("input_tokens_details")).get("cached_tokens")
    return {
        "prompt": usage.get("input_tokens", usage.get("prompt_tokens")),
        "output": usage.get("output_tokens", usage.get("completion_tokens")),
        "cached": reported_cached_tokens(response, usage) if cached is None else cached,
    }


def _whole_response(response: dict[str, Any]) -> dict[str, Any]:
    items = _dicts(response.get("output"))
    said = [item.get("content") for item in items if item.get("type") == "message"]
    text = [part for content in said if isinstance(content, list | str) for part in content]
    return {"content": text or None, "tool_calls": [{"function": item} for item in items if item.get("type") == "function_call"]}


# -- Anthropic's messages


def _message_event(kind: str, event: dict[str, Any]) -> Said:
    if kind == "message_start":
        message = _dict(event.get("message"))
        counts = {**_message_counts(message), "output": None}  # a placeholder: the answer has just begun
        return Said([{"delta": {}}], counts, response_id=message.get("id"))
    if kind == "content_block_start":
        return _block_start(_dict(event.get("content_block")))
    delta = _dict(event.get("delta"))
    if kind == "content_block_delta":
        place, field = _BLOCK_DELTAS.get(str(delta.get("type")), ("", ""))
        return NOTHING if delta.get("type") in _LABELS else Said([_delta(field, delta.get(place)) if place else {"delta": delta}])
    if kind == "message_delta":
        return Said([{"delta": {}, "finish_reason": delta.get("stop_reason")}], _message_counts(event))
    return _whole_message(event) if kind == "message" else NOTHING


def _block_start(block: dict[str, Any]) -> Said:
    if str(block.get("type", "")).endswith("tool_use"):
        return Said([_called(block.get("name"))])
    shown = block.get("text")
    return Said([_delta(_TEXT, shown) if shown else _delta(_REASONING, block.get("thinking"))])


def _whole_message(event: dict[str, Any]) -> Said:
    blocks = _dicts(event.get("content"))
    calls = [{"function": block} for block in blocks if block.get("type") == "tool_use"]
    choice = {"delta": {"content": blocks or None, "tool_calls": calls}, "finish_reason": event.get("stop_reason")}
    return Said([choice], _message_counts(event), response_id=event.get("id"))


def _message_counts(event: dict[str, Any]) -> dict[str, Any]:
    """`input_tokens` leaves out what was read from the cache or written to it. A prompt without any token is a placeholder."""
    usage = _dict(event.get("usage"))
    cached, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    uncached = usage.get("input_tokens")
    if uncached == 0 and not cached and not written:
        uncached = cached = written = None
    return {"uncached": uncached, "cached": cached, "written": written, "output": usage.get("output_tokens")}
