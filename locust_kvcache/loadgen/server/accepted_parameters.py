"""Finds the fullest set of request parameters that a server takes: not every one knows ignore_eos, stream_options or max_tokens.

Small requests go out, the first answer that is not a refusal comes back, with what had to be left out for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from locust_kvcache.loadgen.client.request_bodies import as_sent
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.workload.apis import CHAT

PARAMETERS: dict[str, Any] = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 2,
    "temperature": 0.0,
    "ignore_eos": True,
}
REFUSALS = (400, 422, 500, 501)  # some frameworks answer a parameter that they do not know with a server error
OPTIONAL = ("ignore_eos", "stream_options", "temperature")
Ask = Callable[[dict[str, Any]], StreamOutcome]


def _without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def parameter_variants(api: str) -> list[dict[str, Any]]:
    """Request parameters to try, the fullest first. Only chat has max_completion_tokens: vLLM ignores it in completions, and takes 16."""
    newer = {**_without(PARAMETERS, "ignore_eos", "max_tokens"), "max_completion_tokens": 2}
    variants = [
        PARAMETERS,
        _without(PARAMETERS, "ignore_eos"),
        _without(PARAMETERS, "stream_options"),
        newer,
        _without(newer, "temperature"),
        _without(PARAMETERS, "ignore_eos", "stream_options"),
        _without(PARAMETERS, "ignore_eos", "stream_options", "temperature"),
        _without(newer, "stream_options", "temperature"),
    ]
    possible = [values for values in variants if api == CHAT or "max_completion_tokens" not in values]
    return [
        values for place, values in enumerate(possible) if as_sent(values, api) not in [as_sent(v, api) for v in possible[:place]]
    ]


def refused_in_stream(outcome: StreamOutcome) -> bool:
    """An error inside a stream, before any output."""
    return outcome.status == "stream_error" and not outcome.chunks


def _refused(outcome: StreamOutcome) -> bool:
    return outcome.response.http_status in REFUSALS or refused_in_stream(outcome)


def _named(outcome: StreamOutcome, values: dict[str, Any]) -> list[str]:
    """Optional parameters that a refusal names, and nothing else can be meant."""
    return [key for key in OPTIONAL if key in values and key in (outcome.error or "")]


def _to_try(first: StreamOutcome, api: str) -> Iterator[dict[str, Any]]:
    """After the first refusal: without what it names, then every variant."""
    named = _named(first, PARAMETERS)
    if named:
        yield _without(PARAMETERS, *named)
    yield from parameter_variants(api)[1:]


def try_parameters(ask: Ask, api: str) -> tuple[dict[str, Any], StreamOutcome]:
    """(parameters, outcome) of the first set that is not refused; where all are, the first set and what the server said of it."""
    first = ask(PARAMETERS)
    if not _refused(first):
        return PARAMETERS, first
    tried = [as_sent(PARAMETERS, api)]
    for values in _to_try(first, api):
        if as_sent(values, api) in tried:
            continue
        tried.append(as_sent(values, api))
        outcome = ask(values)
        if not _refused(outcome):
            return values, outcome
    return PARAMETERS, first
