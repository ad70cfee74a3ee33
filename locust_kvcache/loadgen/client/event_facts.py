"""Reads what one event of a stream says of token counts and errors, wherever a server puts them."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.too_long import says_too_long
from locust_kvcache.contract.usage import whole_count

_WORDS = ("message", "detail", "msg", "error_msg", "text")  # the keys of what an error says; `text` alone can be an answer
_CODES = ("code", "type", "error_code")


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

    Some servers have forms of their own: FastChat's error_code, FastAPI's detail, a list of errors, an error inside a choice, a message
    without choices.
    """
    error = event.get("error") or event.get("errors") or _error_of_a_choice(event)
    words_alone = "choices" not in event and "usage" not in event and any(map(event.get, ("error_code", *_WORDS[:-1])))
    if not (error or "error" in (event.get("object"), event.get("type")) or is_error or words_alone):
        return None
    if not error or isinstance(error, bool):  # `"error": true` beside a message
        error = event
    return said_by(error)


def said_by(error: Any) -> str:
    """An error's message. With its code where that alone says that the request is too long."""
    first = error[0] if isinstance(error, list) and error else error
    if not isinstance(first, dict):
        return str(first)
    words = str(next(filter(None, map(first.get, _WORDS)), first))
    codes = (str(first.get(name) or "") for name in _CODES) if not says_too_long(words) else ()
    return next((f"{words} ({code})" for code in codes if says_too_long(code)), words)


def _error_of_a_choice(event: dict[str, Any]) -> Any:
    """Of a choice that does not end: beside a finish_reason it is the reason's message."""
    found = event.get("choices")
    choices = map(as_dict, found if isinstance(found, list) else ())
    return next((choice["error"] for choice in choices if choice.get("error") and not choice.get("finish_reason")), None)
