"""Streams of servers with ways of their own: what is whole stays whole, what failed has failed, what is missing is not 0."""

from __future__ import annotations

import json
from typing import Any

import pytest

from locust_kvcache.loadgen.client.framing import END_GRACE_S, Framing, Response
from locust_kvcache.loadgen.client.stream import StreamOutcome, finish_outcome
from tests.loadgen.client.test_events import DONE, delta, sse

USAGE: dict[str, Any] = {"prompt_tokens": 70, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 48}}
COUNTS = sse({"choices": [], "usage": USAGE})
WHOLE = [delta({"content": "a"}), delta({"content": "b"}, "length")]


def read(*pieces: bytes, status: int = 200, **headers: str) -> StreamOutcome:
    named = {"content_type": "text/event-stream"} | headers
    segments = [(float(number), piece) for number, piece in enumerate(pieces)]
    response = Response(
        http_status=status,
        headers={name.replace("_", "-"): value for name, value in named.items()},
        segments=segments,
        complete=True,
    )
    outcome = StreamOutcome(asked_tokens=2, response=response)
    finish_outcome(outcome)
    return outcome


def is_whole(outcome: StreamOutcome, output: int = 2) -> None:
    reader = outcome.reader
    assert (outcome.status, outcome.error, len(outcome.chunks)) == ("ok", None, output)
    assert (reader.prompt_tokens, reader.output_tokens, reader.cached_tokens) == (70, 2, 48)


@pytest.mark.parametrize(
    "event",
    [
        b'data: "[DONE]"\n\n',
        b"data: [done]\n\n",
        b"data: DONE\n\n",
        b"event: ping\ndata: 2026-05-04 10:00\n\n",
        b"event: heartbeat\ndata: 7\n\n",
        b"event: Keep-Alive\ndata: {}\n\n",
        b"data: null\n\n",
        b'data: ""\n\n',
        sse({"code": 0, "msg": "success", "choices": []}),
        sse({"choices": [], "base_resp": {"status_code": 0, "status_msg": "fine"}}),
    ],
)
def test_what_keeps_a_stream_alive_or_ends_it_is_no_failure(event: bytes) -> None:
    is_whole(read(event, *WHOLE, COUNTS))
    is_whole(read(*WHOLE, COUNTS, event))


def test_a_ping_hides_nothing_that_follows_it() -> None:
    assert read(b"event: ping\ndata: 1\n\ndata: oops\n\n", *WHOLE).status == "malformed"
    assert len(read(b"event: ping\n\n", *WHOLE, COUNTS).chunks) == 2


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (sse({"choices": [], "message": "shard 4 is gone", "code": 503}), "shard 4 is gone"),
        (sse({"choices": None, "detail": "shard 4 is gone"}), "shard 4 is gone"),
        (sse({"choices": [], "usage": None, "error_message": "shard 4 is gone"}), "shard 4 is gone"),
        (sse({"errorMessage": "shard 4 is gone", "errorType": "Gone"}), "shard 4 is gone"),
        (sse({"Error": "shard 4 is gone"}), "shard 4 is gone"),
        (sse({"error": 503, "message": "shard 4 is gone"}), "shard 4 is gone"),
        (sse({"status": 503, "title": "shard 4 is gone"}), "shard 4 is gone"),
        (sse({"code": 503}), "503"),
        (sse({"type": "response.completed", "error": {"message": "shard 4 is gone"}, "response": {}}), "shard 4 is gone"),
        (sse({"choices": None, "base_resp": {"status_code": 1013, "status_msg": "shard 4 is gone"}}), "shard 4 is gone"),
        (delta({"error": "shard 4 is gone"}), "shard 4 is gone"),
        (b'event: Error\ndata: {"shard": 4}\n\n', "shard"),
        (b"event: exception\ndata: shard 4 is gone\n\n", "shard 4 is gone"),
    ],
)
def test_an_error_in_another_form_fails_a_stream_that_looks_whole(event: bytes, said: str) -> None:
    for pieces in ((event, DONE), (WHOLE[0], event), (*WHOLE, COUNTS, event, DONE)):
        outcome = read(*pieces)
        assert (outcome.status, said in (outcome.error or "")) == ("stream_error", True)
        assert len(outcome.chunks) == sum(piece in WHOLE for piece in pieces)


def test_a_usage_of_zeros_neither_takes_counts_away_nor_is_a_count() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}}
    is_whole(read(*WHOLE, COUNTS, sse({"choices": [], "usage": zeros}), DONE))
    is_whole(read(delta({}, usage=zeros), *WHOLE, COUNTS, DONE))
    reader = read(*WHOLE, sse({"choices": [], "usage": zeros}), DONE).reader
    assert (reader.prompt_tokens, reader.output_tokens, reader.cached_tokens) == (None, None, None)
    assert "prompt_tokens is 0" in (reader.counts.rejected or "")


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"tool_calls": {"index": 0, "function": {"name": "f", "arguments": ""}}}},
        {"delta": {"tool_calls": [{"index": 0, "type": "custom", "custom": {"name": "f", "input": ""}}]}},
        {"delta": {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]}},
        {"delta": {}, "text": "x"},
    ],
)
def test_the_first_token_is_found_where_another_server_puts_it(choice: dict[str, Any]) -> None:
    outcome = read(sse({"choices": [choice]}), WHOLE[1], COUNTS, DONE)
    is_whole(outcome)
    assert outcome.chunks[0].received_at_s == 0.0


@pytest.mark.parametrize("encoding", ["", "Identity", "none", "UTF-8"])
def test_a_content_encoding_that_compresses_nothing(encoding: str) -> None:
    is_whole(read(*WHOLE, COUNTS, content_encoding=encoding))
    assert read(*WHOLE, COUNTS, content_encoding="zstd").status == "malformed"


def test_created_is_an_answer_as_well() -> None:
    is_whole(read(*WHOLE, COUNTS, DONE, status=201))
    assert "HTTP 201 and text/html" in (read(b"<title>Sign in</title>", status=201, content_type="text/html").error or "")
    assert read(b"", status=202).status == "http_error"


def test_a_line_that_was_begun_is_cut_and_not_malformed() -> None:
    """A body that ends where the connection does looks complete wherever it was cut."""
    assert read(WHOLE[0], WHOLE[1][:20]).status == "cut"
    assert read(WHOLE[0], b"data: {oops}\n\n").status == "malformed"


def test_a_text_instead_of_events_is_told() -> None:
    outcome = read(b"No upstream for pool 9\n")
    assert (outcome.status, (outcome.error or "").endswith("output: No upstream for pool 9")) == ("no_output", True)
    assert (read(b": ping\n\n").error or "").endswith("output")


def test_one_object_with_a_byte_order_mark() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "ab"}, "finish_reason": "length"}
    body = b"\xef\xbb\xbf" + json.dumps({"choices": [choice], "usage": USAGE}).encode()
    outcome = read(body[:2], body[2:], content_type="application/json")
    is_whole(outcome, output=1)
    assert outcome.not_streamed


def test_comments_without_end_after_done_do_not_keep_an_answer_open() -> None:
    framing = Framing(Response())
    framing.on_done = lambda: None
    assert not framing.take(0.0, b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(WHOLE) + DONE)
    assert not framing.take(END_GRACE_S, b": ping\n\n")
    assert framing.take(END_GRACE_S + 0.01, b": ping\n\n")
    assert (framing.response.complete, framing.response.end_missing) == (True, True)


@pytest.mark.parametrize(
    "event",
    [
        {"status": "processing", "message": "2 requests before this one"},
        {"type": "info", "message": "the error budget is fine"},
        {"choices": [], "code": 20000, "msg": "success"},
        {"code": "Success", "message": "done"},
        {"success": True, "message": "done"},
        {"error": False, "message": "done"},
        {"level": "warning", "detail": "temperature is ignored"},
        {"metadata": {"hits": 3}, "code": 1000},
        {"status": 1000},
    ],
)
def test_a_message_of_another_kind_fails_no_answer_that_comes_to_its_end(event: dict[str, Any]) -> None:
    is_whole(read(sse(event), *WHOLE, COUNTS, DONE))
    is_whole(read(*WHOLE, COUNTS, sse(event), DONE))


def test_a_message_of_another_kind_is_the_cause_where_the_answer_does_not_come_to_its_end() -> None:
    event = sse({"status": "draining", "message": "shard 4 is gone"})
    for pieces in ((event, DONE), (WHOLE[0], event), (WHOLE[0], event, b'data: {"ch')):
        outcome = read(*pieces)
        assert (outcome.status, outcome.error) == ("stream_error", "shard 4 is gone")


@pytest.mark.parametrize(
    "event",
    [
        {"status": "error", "message": "shard 4 is gone"},
        {"success": False, "message": "shard 4 is gone"},
        {"detail": "shard 4 is gone", "request_id": "r1"},
        {"code": "InternalError", "message": "shard 4 is gone"},
    ],
)
def test_a_message_that_is_called_an_error_fails_an_answer_that_looks_whole(event: dict[str, Any]) -> None:
    outcome = read(*WHOLE, COUNTS, sse(event), DONE)
    assert (outcome.status, outcome.error) == ("stream_error", "shard 4 is gone")
