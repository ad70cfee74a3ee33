"""A prompt longer than the model's context is refused before the load, whether HTTP 400 says so or an error inside HTTP 200."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import time
from dataclasses import replace
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.server import patience
from locust_kvcache.loadgen.server.preflight import Preflight, Server
from locust_kvcache.workload.given_lengths import with_lengths
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from tests.scripted_server import Scripted, served, words_of

CONTEXT = 1024
WORDS = f"This model's maximum context length is {CONTEXT} tokens"
SCENARIO = replace(load_scenario("cold_start"), requests=4)
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}


def delta(finish: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": finish}]}


class Short(Scripted):
    """Answers what fits, and says `said` of the rest: events, after a status of 200."""

    said: tuple[Any, ...] = ()
    context = CONTEXT

    def answer(self, body: dict[str, Any]) -> None:
        if len(words_of(body)) + self.output_tokens(body) <= self.context:
            super().answer(body)
        else:
            self.refuse_in_stream()

    def refuse_in_stream(self) -> None:
        self.send_events(list(self.said))


def short(*said: Any, context: int = CONTEXT) -> type[Scripted]:
    return type("ShortKind", (Short,), {"said": said, "context": context})


class AsOneObject(Short):
    def refuse_in_stream(self) -> None:
        self.send_json({"error": {"message": WORDS, "code": 400}})


class ByServerError(Short):
    def refuse_in_stream(self) -> None:
        self.send_json({"error": {"message": f"litellm.ContextWindowExceededError: {WORDS}"}}, 500)


class Slow(Short):
    """The error comes a while after the role, and the end a while after the error."""

    said = (b": keep-alive\n\n", ROLE, {"error": {"message": WORDS}})

    def send_events(self, events: list[Any], end: bytes = b"data: [DONE]\n\n") -> None:
        self.pause_s = 0.05 if events == list(self.said) else 0.0
        super().send_events(events, end)

    def send_chunk(self, data: bytes) -> None:
        super().send_chunk(data)
        time.sleep(self.pause_s)


KINDS: dict[str, type[Scripted]] = {
    "an error object": short({"error": {"message": WORDS, "type": "BadRequestError", "code": 400}}),
    "after a role": short(ROLE, {"error": {"message": WORDS}}),
    "after a comment": short(b": keep-alive\n\n", {"error": WORDS}),
    "a named event": short(b"event: error\ndata: " + WORDS.encode() + b"\n\n"),
    "a text that is no JSON": short(b"data: " + WORDS.encode() + b"\n\n"),
    "an aborted answer": short(delta({"type": "abort", "message": WORDS, "status_code": 400})),
    "one object": AsOneObject,
    "a slow stream": Slow,
    "a server error": ByServerError,
}


def looked_at(kind: type[Scripted], scenario: Scenario, asked: list[Any] | None = None) -> Server:
    with served(kind) as (deployment, bodies):
        try:
            return Preflight(replace(deployment, metrics=()), 10.0).run(None, [scenario])
        finally:
            (asked if asked is not None else []).extend(bodies)


@pytest.mark.parametrize("name", KINDS)
def test_a_prompt_that_does_not_fit_is_refused_before_the_load_however_it_is_said(name: str) -> None:
    """600 + 8 tokens fit into 1,024; 4,000 do not, and neither do 600 + 500, of which only the answer is too much."""
    assert looked_at(KINDS[name], with_lengths(SCENARIO, 600, 8)).calibration.source == "usage"
    for scenario in (SCENARIO, with_lengths(SCENARIO, 600, 500)):
        with pytest.raises(BadInput, match=r"refuses the largest request.*maximum context length is 1024.*--max-model-len"):
            looked_at(KINDS[name], scenario)


def test_a_code_says_it_where_the_message_does_not() -> None:
    kind = short({"error": {"message": "Bad request", "type": "invalid_request_error", "code": "context_length_exceeded"}})
    with pytest.raises(BadInput, match=r"refuses the largest request.*Bad request \(context_length_exceeded\)"):
        looked_at(kind, SCENARIO)


def test_a_context_of_a_few_hundred_tokens_is_calibrated_too() -> None:
    found = looked_at(short({"error": {"message": WORDS}}, context=400), with_lengths(SCENARIO, 200, 8))
    assert found.calibration.source == "usage"


def test_a_context_without_room_for_the_smallest_request_is_named_and_not_the_models_name() -> None:
    with pytest.raises(BadInput, match=r"small streamed request.*maximum context length.*raise the server's limit") as told:
        looked_at(short({"error": {"message": WORDS}}, context=10), SCENARIO)
    assert "--model," not in str(told.value)


def test_a_worker_that_died_is_asked_again_and_is_no_long_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BUSY_TRIES", 3)
    found = looked_at(short({"error": {"message": "worker died"}}), SCENARIO)
    assert any("of the largest planned size" in text and "stream_error: worker died" in text for text in found.warnings)


def test_what_cannot_fit_is_not_asked_again() -> None:
    asked: list[dict[str, Any]] = []
    with pytest.raises(BadInput):
        looked_at(short({"error": {"message": WORDS}}), SCENARIO, asked)
    assert sum(len(words_of(body)) > 3000 for body in asked) == 1
