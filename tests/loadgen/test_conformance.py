"""Streams as real servers send them, whole and split at every byte: the same tokens, text, usage and verdict come out."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

from dataclasses import dataclass
from pathlib import Path

import pytest

from locust_kvcache.loadgen.client.framing import Framing, Response
from locust_kvcache.loadgen.client.stream import StreamOutcome, finish_outcome
from tests.samples import places

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"


@dataclass(frozen=True)
class Expected:
    reply: str
    chunks: int
    visible: int
    prompt_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    chunk_tokens: tuple[int | None, ...] | None = None
    finish_reason: str = "length"


EXPECTED = {
    "vllm_chat.http": Expected(" executed nu debugged NFK", 4, 4, 19, 4, 0),
    "vllm_chat_continuous_usage.http": Expected(" executed nu debugged NFK", 4, 4, 19, 4, 0, (1, 1, 1, 1)),
    "vllm_completions.http": Expected("", 4, 4, None, 4, 0),
    "sglang_chat.sse": Expected("Bridges", 2, 1, 40, 3, 32),
    "llamacpp_chat.sse": Expected("Bridges span", 2, 2, 40, 2, 32),
    "tgi_chat.sse": Expected("Bridges span", 2, 2, 40, 2, None),
    "openai_chat.sse": Expected("Bridges", 1, 1, 40, 1, 0),
    "vllm_responses.http": Expected(" suspend nor iterable model", 4, 4, 861, 4, 768, finish_reason="max_output_tokens"),
    "vllm_responses_tool.http": Expected("", 2, 0, 861, 30, 768, finish_reason="max_output_tokens"),
    "vllm_messages.http": Expected(" suspend nor iterable model", 4, 4, 861, 4, 768, finish_reason="max_tokens"),
    "vllm_messages_tool.http": Expected("", 2, 0, 861, 30, 768, finish_reason="max_tokens"),
    "vllm_generate.http": Expected("", 4, 0, 300, 4, 256, (1, 1, 1, 1)),
}


def raw(name: str) -> bytes:
    data = (FIXTURES / name).read_bytes()
    return data if name.endswith(".http") else HEAD % len(data) + data


def received(pieces: list[bytes]) -> StreamOutcome:
    """The outcome of a response that arrived in these pieces, piece n at second n + 1."""
    outcome = StreamOutcome(response=Response(sent_at_s=0.5))
    framing = Framing(outcome.response)
    for number, piece in enumerate(pieces):
        if framing.take(float(number + 1), piece):
            break
    framing.end()
    finish_outcome(outcome)
    return outcome


@pytest.mark.parametrize("name", EXPECTED)
def test_a_whole_stream(name: str) -> None:
    expected, outcome = EXPECTED[name], received([raw(name)])
    assert (outcome.status, outcome.error) == ("ok", None)
    assert outcome.reply.endswith(expected.reply)
    assert (len(outcome.chunks), sum(chunk.visible for chunk in outcome.chunks)) == (expected.chunks, expected.visible)
    assert expected.prompt_tokens in (None, outcome.reader.prompt_tokens)
    assert (outcome.reader.output_tokens, outcome.reader.cached_tokens) == (expected.output_tokens, expected.cached_tokens)
    assert outcome.reader.finish_reason == expected.finish_reason
    if expected.chunk_tokens:
        assert tuple(chunk.tokens for chunk in outcome.chunks) == expected.chunk_tokens


@pytest.mark.sampled
@pytest.mark.parametrize("name", EXPECTED)
def test_split_at_every_byte(name: str) -> None:
    """Two pieces: nothing changes but which of them stamps a chunk, and that moves from the first to the second once per chunk."""
    data = raw(name)
    whole = received([data])
    in_first = []
    for cut in places(len(data)):
        outcome = received([data[:cut], data[cut:]])
        assert (outcome.status, outcome.reply, outcome.reader.output_tokens, outcome.reader.cached_tokens) == (
            "ok",
            whole.reply,
            whole.reader.output_tokens,
            whole.reader.cached_tokens,
        )
        assert [chunk._replace(received_at_s=0) for chunk in outcome.chunks] == [
            chunk._replace(received_at_s=0) for chunk in whole.chunks
        ]
        stamps = [chunk.received_at_s for chunk in outcome.chunks]
        assert stamps == sorted(stamps)
        in_first.append(stamps.count(1.0))
    assert in_first == sorted(in_first)
    assert in_first[0] == 0
    assert set(in_first) >= set(range(len(whole.chunks)))  # each chunk is stamped as soon as its line is complete, not later


@pytest.mark.parametrize("name", EXPECTED)
def test_byte_by_byte(name: str) -> None:
    data = raw(name)
    outcome = received([data[at : at + 1] for at in range(len(data))])
    assert (outcome.status, outcome.reply) == ("ok", received([data]).reply)


@pytest.mark.sampled
@pytest.mark.parametrize("name", EXPECTED)
def test_cut_at_every_byte_before_its_done_is_never_whole(name: str) -> None:
    data = raw(name)
    for end in places(len(data)):
        outcome = received([data[:end], b""])
        if b"data: [DONE]" in data[:end]:  # all has come but the end of the body, and the record says so
            assert (outcome.status, outcome.end_missing) == ("ok", True)
            continue
        assert outcome.status in ("cut", "reset", "no_output"), (end, outcome.status)
        assert outcome.error


def test_an_unknown_model_is_an_http_error() -> None:
    outcome = received([raw("vllm_unknown_model.http")])
    assert outcome.status == "http_error"
    assert "The model `nope` does not exist" in (outcome.error or "")
