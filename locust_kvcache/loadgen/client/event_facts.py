"""Reads what one event of a stream says of token counts and errors, wherever a server puts them."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.too_long import says_too_long
from locust_kvcache.contract.usage import whole_count

_WORDS_ALONE = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage")  # the keys of what an error says
_WORDS = (*_WORDS_ALONE, "status_msg", "title", "text")  # these alone can be an answer, or a part of one
_CODES = ("code", "type", "error_code")
_STATUS_CODES = ("error_code", "code", "status")
_SUCCESS = (0, 200, "0", "200", "success", "ok")
LEAST_FAILURE = 400  # of the codes of HTTP


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

    Some servers have forms of their own: FastChat's error_code, FastAPI's detail, a list of errors, an error inside a choice, MiniMax's
    base_resp, a message or a code without choices.
    """
    error = event.get("error") or event.get("errors") or _error_of_a_choice(event)
    if not error and "base_resp" in event and (said := as_dict(event["base_resp"])).get("status_code"):
        error = said
    if not error and not event.get("choices"):
        error = event.get("Error")
    if not (error or "error" in (event.get("object"), event.get("type")) or is_error or _is_alone(event)):
        return None
    if not error or isinstance(error, int | float):  # `"error": true` beside a message, or 500
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


def _is_alone(event: dict[str, Any]) -> bool:
    """A message, or the code of an error, without choices and usage; unless the code is that of a success."""
    if event.get("choices") or event.get("usage"):
        return False
    code = next((event[name] for name in _STATUS_CODES if event.get(name) is not None), None)
    is_failure = isinstance(code, int) and code >= LEAST_FAILURE
    return code not in _SUCCESS and (is_failure or any(map(event.get, ("error_code", *_WORDS_ALONE))))


def _error_of_a_choice(event: dict[str, Any]) -> Any:
    """Of a choice that does not end: beside a finish_reason it is the reason's message."""
    found = event.get("choices")
    for choice in found if isinstance(found, list) else ():
        if isinstance(choice, dict) and not choice.get("finish_reason"):
            delta = choice.get("delta")
            if said := choice.get("error") or (delta.get("error") if isinstance(delta, dict) else None):
                return said
    return None
