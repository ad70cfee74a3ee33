"""Which parameters are tried: a server that refuses for another reason must not end with one that it ignores."""

from __future__ import annotations

from typing import Any

from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.accepted_parameters import PARAMETERS, try_parameters


def answer(http_status: int) -> StreamOutcome:
    outcome = StreamOutcome()
    outcome.response.http_status = http_status
    return outcome


def short_context(values: dict[str, Any]) -> StreamOutcome:
    """The prompt and max_tokens together are beyond the context; without max_tokens the server takes what is left."""
    return answer(400 if "max_tokens" in values else 200)


def test_a_completion_is_never_asked_for_by_max_completion_tokens_which_vllm_ignores_there() -> None:
    values, outcome = try_parameters(short_context, "completions")
    assert values == PARAMETERS
    assert outcome.response.http_status == 400


def test_a_chat_that_takes_no_max_tokens_is_asked_for_by_max_completion_tokens() -> None:
    values, outcome = try_parameters(short_context, "chat")
    assert values["max_completion_tokens"] == 2
    assert outcome.response.http_status == 200
