"""Finds the generated output in one choice of a streamed chunk, whatever field the server puts it in.

Content, reasoning, tool calls and refusals are output. So is text in a field that is not known here: its name is given, to be told
once. Labels such as the role are not output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

VISIBLE_FIELDS = ("content", "refusal")
REASONING_FIELDS = ("reasoning", "reasoning_content", "thinking")
# fields of a delta, or of a part in it, that describe the output and are none
LABELS = frozenset(
    "role name id type error index object model provider created format signature finish_reason native_finish_reason stop_reason "
    "logprobs usage annotations citations obfuscation service_tier system_fingerprint encrypted_content token_ids".split()
)
_REASONING_PARTS = ("thinking", "reasoning")


class Output(NamedTuple):
    """`text` is visible text only; `unknown_field` names a field that is not known to carry output and did."""

    carries: bool
    text: str = ""
    unknown_field: str | None = None
    tokens: int | None = None  # so many, where the choice holds them as token ids


NOTHING = Output(False)


def _has_text(value: Any) -> bool:
    """Whether a value holds text, at any depth, beside its labels."""
    if isinstance(value, dict):
        return any(_has_text(inner) for key, inner in value.items() if key not in LABELS)
    if isinstance(value, list):
        return any(map(_has_text, value))
    return isinstance(value, str) and bool(value)


def _visible_text(content: Any) -> str:
    """The visible text of a content: a string, or parts with a type each (`text`, `thinking`, ...)."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_visible_text, content))
    if isinstance(content, dict) and not str(content.get("type", "")).startswith(_REASONING_PARTS):
        return _visible_text(content.get("text") or content.get("content") or "")
    return ""


def _calls_something(call: Any) -> bool:
    """Whether a tool call carries a piece of its name or of its arguments (text, or an object already)."""
    function = (call.get("function") or call.get("custom") or call) if isinstance(call, dict) else None
    return isinstance(function, dict) and any(map(function.get, ("name", "arguments", "input")))


def output_of(choice: Any) -> Output:
    """What a choice carries: chat servers put it into `delta`, completion servers into `text`; those that do not stream into `message`;
    servers of tokens into `token_ids`."""
    if not isinstance(choice, dict):
        return NOTHING
    delta = choice.get("delta")
    if delta is None:
        delta = choice.get("message")
    if not delta and isinstance(text := choice.get("text"), str) and text:
        return Output(True, text)
    if delta is None:
        return _output_of_ids(choice)
    if isinstance(delta, str):
        return Output(bool(delta), delta)
    return _output_of_delta(delta) if isinstance(delta, dict) else NOTHING


def _output_of_ids(choice: dict[str, Any]) -> Output:
    """Token ids in place of a text: vLLM's /inference/v1/generate."""
    ids = choice.get("token_ids") if "text" not in choice else None
    return Output(True, tokens=len(ids)) if isinstance(ids, list) and ids else NOTHING


def _output_of_delta(delta: dict[str, Any]) -> Output:
    for field in VISIBLE_FIELDS:
        if content := delta.get(field):
            if isinstance(content, str):
                return Output(True, content)
            if _has_text(content):
                return Output(True, _visible_text(content))
    for field in REASONING_FIELDS:
        if _has_text(delta.get(field)):
            return Output(True)
    calls = delta.get("tool_calls")
    calls = [calls] if isinstance(calls, dict) else calls
    if any(map(_calls_something, calls if isinstance(calls, list) else ())) or _calls_something(delta.get("function_call")):
        return Output(True)
    for field, value in delta.items():
        if field not in LABELS and field not in ("tool_calls", "function_call") and _has_text(value):
            return Output(True, "", field)
    return NOTHING
