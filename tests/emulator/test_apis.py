"""The emulator in every API: one prompt has the same counts and the same truth, and the client reads each dialect."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
from typing import Any

import pytest
import requests

from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.request_bodies import (
    HEADERS,
    PATHS,
    body_tail,
    encode_answer,
    encode_ids,
    encode_message,
    encode_turn,
    ids_body,
    messages_body,
)
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.workload.apis import APIS, CONVERSING
from locust_kvcache.workload.turn import Turn
from tests.emulator.conftest import Serve

TEXT = "A text that stands for itself and is long enough for some blocks of the cache. " * 8
PARAMETERS = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": 6, "temperature": 0.0, "ignore_eos": True}


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve("--time-scale", "0.05")


def turn(number: int, role: str = "user") -> Turn:
    return Turn(number - 1, 0, number, 1, 1, 0, None, role=role)


def ask(url: str, api: str, body: bytes, fault: str = "") -> StreamOutcome:
    target = Target.from_url(url)
    headers = (("x-fault", fault),) if fault else ()
    head = target.request_head(PATHS[api], len(body), None, headers, HEADERS.get(api, ()))
    connection, outcome = Connection(target), StreamOutcome(asked_tokens=6)
    stream_request(connection, head + body, 10.0, outcome)
    connection.close()
    return outcome


def conversation(api: str, system: str) -> bytes:
    """A question, an answer that calls a tool, the tool's result, an answer, a question."""
    pieces = [
        encode_message("system", system),
        encode_turn(turn(1), TEXT, api),
        encode_answer(turn(1), "Let me see.", True, api),
        encode_turn(turn(2, "tool"), "The result is 7.", api),
        encode_answer(turn(2), "It is 7.", False, api),
        encode_turn(turn(3), "And then?", api),
    ]
    return messages_body("tiny", pieces, body_tail(PARAMETERS, api), api)


def counts(outcome: StreamOutcome) -> tuple[Any, ...]:
    reader = outcome.reader
    return outcome.status, reader.prompt_tokens, reader.cached_tokens, reader.output_tokens, len(reader.log)


def test_a_conversation_has_the_same_counts_in_each_api(url: str) -> None:
    """Cold under one system text each, of equal length; then warm: the block that the last token is in is computed again."""
    seen = {}
    for number, api in enumerate(CONVERSING):
        body = conversation(api, f"Be brief {number}.")
        seen[api] = (ask(url, api, body), ask(url, api, body))
        assert len({one.reply for one in seen[api]}) == 1
    assert len({counts(cold) for cold, _ in seen.values()}) == 1, {api: counts(cold) for api, (cold, _) in seen.items()}
    assert len({counts(hit) for _, hit in seen.values()}) == 1
    status, prompt, cached, output, chunks = counts(seen["messages"][1])
    assert (status, output, chunks) == ("ok", 6, 6)
    assert cached == (prompt - 1) // 16 * 16
    assert {api: hit.reader.finish_reason for api, (_, hit) in seen.items()} == {
        "chat": "length",
        "responses": "max_output_tokens",
        "messages": "max_tokens",
    }


def test_the_same_prompt_is_a_hit_whatever_the_api(url: str) -> None:
    for api in CONVERSING[1:]:
        ask(url, "chat", conversation("chat", f"Known to {api}."))
        assert (ask(url, api, conversation(api, f"Known to {api}.")).reader.cached_tokens or 0) > 100


@pytest.mark.parametrize("api", ["completions", "generate"])
def test_token_ids(url: str, api: str) -> None:
    ids = list(range(1000 + 500 * len(api), 1300 + 500 * len(api)))
    body = ids_body("tiny", [encode_ids(ids)], body_tail(PARAMETERS, api), api)
    cold, hit = ask(url, api, body), ask(url, api, body)
    assert (counts(cold), counts(hit)) == (("ok", 300, 0, 6, 6), ("ok", 300, 288, 6, 6))
    assert cold.reply == ("" if api == "generate" else hit.reply)


def body_of(api: str) -> bytes:
    if api in CONVERSING:
        return conversation(api, "Be brief.")
    return ids_body("tiny", [encode_ids(list(range(2000, 2100)))], body_tail(PARAMETERS, api), api)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("cut=2", "cut"),
        ("no_finish_reason,no_done", "cut"),
        ("error_in_stream=2", "stream_error"),
        ("malformed_json=1", "malformed"),
        ("status=503", "http_error"),
        ("empty_stream", "no_output"),
        ("crlf,tiny_segments", "ok"),
        ("keep_alive_comments", "ok"),
        ("tokens_per_chunk=3", "ok"),
    ],
)
def test_failures_are_failures_in_each_api(url: str, api: str, fault: str, status: str) -> None:
    outcome = ask(url, api, body_of(api), fault)
    assert outcome.status == status, outcome.error
    if status == "stream_error":
        assert outcome.error == "EngineCore encountered an issue."
    if status == "ok":
        assert outcome.reader.output_tokens == 6


@pytest.mark.parametrize("api", CONVERSING)
@pytest.mark.parametrize("fault", ["reasoning", "tool_call"])
def test_reasoning_and_tool_calls_are_the_first_output(url: str, api: str, fault: str) -> None:
    """Two tokens of another kind, then four of text; a call's name is output of its own in the typed APIs."""
    outcome = ask(url, api, body_of(api), f"{fault}=2")
    named = fault == "tool_call" and api != "chat"
    assert outcome.status == "ok"
    assert [chunk.visible for chunk in outcome.chunks] == [False] * (3 if named else 2) + [True] * 4
    assert outcome.reader.unknown_field is None


@pytest.mark.parametrize("api", APIS)
def test_counts_that_are_left_out_are_missing(url: str, api: str) -> None:
    reader = ask(url, api, body_of(api), "no_usage").reader
    assert (reader.prompt_tokens, reader.cached_tokens, reader.output_tokens) == (None, None, None)
    reader = ask(url, api, body_of(api), "usage_without_details").reader
    assert (reader.cached_tokens, reader.output_tokens) == (None, 6)
    assert reader.prompt_tokens


@pytest.mark.parametrize("api", APIS)
def test_whole_answers(url: str, api: str) -> None:
    body = json.loads(body_of(api)) | {"stream": False}
    outcome = ask(url, api, json.dumps(body).encode())
    assert (outcome.status, outcome.not_streamed, outcome.reader.output_tokens) == ("ok", True, 6)


def test_refusals_are_worded_as_the_api_words_them(url: str) -> None:
    answer = requests.post(
        f"{url}/v1/messages", json={"model": "tiny", "messages": [{"role": "user", "content": "a"}]}, timeout=5
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
    assert "max_tokens" in answer.json()["error"]["message"]
    answer = requests.post(f"{url}/inference/v1/generate", json={"token_ids": []}, timeout=5)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    answer = requests.post(f"{url}/v1/responses", json={"input": "text alone", "max_output_tokens": 2}, timeout=5)
    assert answer.json()["usage"]["output_tokens"] == 2
