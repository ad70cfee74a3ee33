"""Reads token counts and errors from one event of a stream, in the places where different servers put them."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.too_long import says_too_long
from locust_kvcache.contract.usage import whole_count

_ERROR_WORDS = ("error_msg", "error_message", "errorMessage", "error_code")
_WORDS_ALONE = ("message", "detail", "msg", *_ERROR_WORDS[:3])  # the keys of what an error says
_WORDS = (*_WORDS_ALONE, "status_msg", "title", "text")  # these alone can be an answer, or a part of one
_CODES = ("code", "type", "error_code")
_STATUS_CODES = ("error_code", "code", "status")
_SUCCESS = (0, 200, "0", "200", "success", "ok")
_NO_LABELS = frozenset((*_WORDS_ALONE, "choices", "usage", "id", "object", "created", "model", "request_id", "timestamp"))
_OUTCOMES = ("success", "ok", "status")
FAILURES = range(400, 600)  # of the codes of HTTP


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def reported_cached_tokens(event: dict[str, Any], usage: dict[str, Any]) -> Any:
    """Cached prompt tokens as reported, unchecked; None where none are.

    In this order: OpenAI, vLLM and SGLang; Moonshot; DeepSeek; two further names; llama.cpp.
    """
    for found in (
        as_dict(usage.get("prompt_tokens_details")).get("cached_tokens"),
        usage.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        usage.get("num_cached_tokens"),
        usage.get("cache_read_input_tokens"),
        as_dict(event.get("timings")).get("cache_n"),
    ):
        if found is not None:
            return found
    return None


def prompt_tokens(said: dict[str, Any]) -> Any:
    """Prompt tokens as reported; Anthropic's are told in three parts. A part that is no number of tokens is rejected as it is."""
    if "prompt" in said or "uncached" not in said:
        return said.get("prompt")
    parts = [said.get(name) or 0 for name in ("uncached", "cached", "written")]
    return next((part for part in parts if whole_count(part) is None), None) or sum(map(int, parts))


def usage_of(event: dict[str, Any]) -> dict[str, Any]:
    """The usage of an event, empty where it has none; Groq has a place of its own."""
    return as_dict(event.get("usage")) or as_dict(as_dict(event.get("x_groq")).get("usage"))


def complaint(event: dict[str, Any], is_error: bool) -> str | None:
    """What an event says of a failure; None where it says none. `is_error`: the event is named `error`.

    Some servers have forms of their own: FastChat's error_code, a list of errors, an error inside a choice, MiniMax's base_resp, a message
    or a code without choices.
    """
    error = event.get("error") or event.get("errors") or _error_of_a_choice(event)
    if not error and "base_resp" in event and (said := as_dict(event["base_resp"])).get("status_code"):
        error = said
    if not error and not event.get("choices"):
        error = event.get("Error")
    if not (error or "error" in (event.get("object"), event.get("type")) or is_error or _says_failure(event)):
        return None
    if not error or isinstance(error, int | float):  # `"error": true` beside a message, or 500
        error = event
    return said_by(error)


def remark(event: dict[str, Any]) -> str | None:
    """A message beside a status, a level, ...: of a queue, say. That of a failure only where the answer does not come to its end."""
    is_remark = _is_alone(event) and any(map(event.get, _WORDS_ALONE)) and _code(event) not in _SUCCESS
    return said_by(event) if is_remark else None


def said_by(error: Any) -> str:
    """An error's message. With its code where that alone says that the request is too long."""
    first = error[0] if isinstance(error, list) and error else error
    if not isinstance(first, dict):
        return str(first)
    words = str(next(filter(None, map(first.get, _WORDS)), first))
    codes = (str(first.get(name) or "") for name in _CODES) if not says_too_long(words) else ()
    return next((f"{words} ({code})" for code in codes if says_too_long(code)), words)


def _is_alone(event: dict[str, Any]) -> bool:
    return not (event.get("choices") or event.get("usage"))


def _code(event: dict[str, Any]) -> Any:
    found = next((event[name] for name in _STATUS_CODES if event.get(name) is not None), None)
    return found.lower() if isinstance(found, str) else found


def _says_failure(event: dict[str, Any]) -> bool:
    """By a code, by the name of its message, or by a message that stands beside nothing which calls it another thing."""
    code = _code(event)
    if not _is_alone(event) or code in _SUCCESS:
        return False
    if (isinstance(code, int) and code in FAILURES) or any(map(event.get, _ERROR_WORDS)):
        return True
    labels = [value for name, value in event.items() if name not in _NO_LABELS and value is not None]
    told = not labels or any(value is False for value in map(event.get, _OUTCOMES)) or any(map(_names_failure, labels))
    return told and any(map(event.get, _WORDS_ALONE))


def _names_failure(label: Any) -> bool:
    return isinstance(label, str) and any(word in label.lower() for word in ("error", "fail", "exception", "fatal"))


def _error_of_a_choice(event: dict[str, Any]) -> Any:
    """Of a choice that does not end: beside a finish_reason it is the reason's message."""
    found = event.get("choices")
    for choice in found if isinstance(found, list) else ():
        if isinstance(choice, dict) and not choice.get("finish_reason"):
            delta = choice.get("delta")
            if said := choice.get("error") or (delta.get("error") if isinstance(delta, dict) else None):
                return said
    return None
