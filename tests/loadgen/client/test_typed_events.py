"""What the typed events of /v1/responses and /v1/messages say, event by event, and how such streams end."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
from typing import Any

import pytest

from locust_kvcache.loadgen.client.stream import StreamOutcome
from tests.loadgen.client.test_events import read

Event = dict[str, Any]


def named(event: Event) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def stream(*events: Event, asked: int | None = None) -> StreamOutcome:
    return read(*map(named, events), asked=asked)


def delta(kind: str, value: Any) -> Event:
    return {"type": f"response.{kind}.delta", "delta": value, "sequence_number": 7, "item_id": "x", "output_index": 0}


def ended(kind: str = "completed", **response: Any) -> Event:
    usage = {"input_tokens": 40, "input_tokens_details": {"cached_tokens": 32}, "output_tokens": 9}
    return {"type": f"response.{kind}", "response": {"id": "r1", "status": kind, "usage": usage, **response}}


CREATED = {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "error": None, "usage": None}}


def block(value: Event) -> Event:
    return {"type": "content_block_delta", "index": 0, "delta": value}


def start(**usage: Any) -> Event:
    return {"type": "message_start", "message": {"id": "m1", "content": [], "usage": {"output_tokens": 1, **usage}}}


def stop(reason: str | None = "end_turn", **usage: Any) -> Event:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9, **usage}}


STOP = {"type": "message_stop"}
TEXT = block({"type": "text_delta", "text": "he"})


@pytest.mark.parametrize(
    ("kind", "visible"),
    [
        ("output_text", True),
        ("refusal", True),
        ("reasoning_text", False),
        ("reasoning_summary_text", False),
        ("function_call_arguments", False),
        ("custom_tool_call_input", False),
    ],
)
def test_every_delta_of_a_response_is_output(kind: str, visible: bool) -> None:
    outcome = stream(CREATED, delta(kind, "he"), delta("output_text", "llo"), ended())
    assert (outcome.status, outcome.reply) == ("ok", "hello" if visible else "llo")
    assert [(chunk.received_at_s, chunk.visible) for chunk in outcome.chunks] == [(1.0, visible), (2.0, True)]
    assert outcome.reader.first_choice_at_s == 0.0
    assert outcome.reader.response_id == "r1"
    assert outcome.reader.unknown_field is None
    assert outcome.reader.finish_reason == "completed"
    assert (outcome.reader.prompt_tokens, outcome.reader.cached_tokens, outcome.reader.output_tokens) == (40, 32, 9)


def test_the_name_of_a_called_function_is_the_first_output() -> None:
    item = {"type": "response.output_item.added", "item": {"type": "function_call", "name": "run", "arguments": ""}}
    outcome = stream(CREATED, item, delta("function_call_arguments", "{}"), ended())
    assert [chunk.received_at_s for chunk in outcome.chunks] == [1.0, 2.0]
    text = {"type": "response.output_item.added", "item": {"type": "message", "content": []}}
    assert [chunk.received_at_s for chunk in stream(CREATED, text, delta("output_text", "a"), ended()).chunks] == [2.0]


def test_a_delta_of_tomorrow_is_output_and_is_named() -> None:
    outcome = stream(CREATED, delta("inner_monologue", "hm"), ended())
    assert (outcome.status, outcome.reader.unknown_field) == ("ok", "inner_monologue")


@pytest.mark.parametrize(
    ("end", "status", "reason", "said"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "ok", "max_output_tokens", None),
        (ended(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "ok", "max_output_tokens", None),  # vLLM
        (ended("cancelled"), "aborted", "cancelled", "cancelled"),
        (ended("failed", error={"code": "server_error", "message": "out of memory"}), "stream_error", None, "out of memory"),
        (
            {"type": "error", "code": "server_error", "message": "it broke", "sequence_number": 3},
            "stream_error",
            None,
            "it broke",
        ),
        (delta("output_text", "more"), "cut", None, "without a finish_reason"),
        ({"type": "response.completed"}, "ok", "completed", None),  # the event's name says it
        (ended(status="in_progress"), "ok", "completed", None),
        (ended("incomplete", incomplete_details={"reason": 7}), "aborted", "incomplete", None),
    ],
)
def test_how_a_response_ends(end: Event, status: str, reason: str | None, said: str | None) -> None:
    outcome = stream(CREATED, delta("output_text", "he"), end)
    assert (outcome.status, outcome.reader.finish_reason) == (status, reason)
    assert said is None or said in (outcome.error or "")


def done(kind: str, value: str) -> Event:
    field = {"function_call_arguments": "arguments", "refusal": "refusal"}.get(kind, "text")
    return {"type": f"response.{kind}.done", field: value, "sequence_number": 8}


CONTENT_PART = {"type": "response.content_part.done", "part": {"type": "output_text", "text": "he"}}


def message(text: str) -> list[Event]:
    return [{"type": "message", "content": [{"type": "output_text", "text": text}]}]


@pytest.mark.parametrize(
    ("events", "reply", "chunks"),
    [
        ([done("output_text", "he"), ended(output=message("he"))], "he", 1),
        ([done("reasoning_text", "hm"), done("output_text", "he"), ended(output=message("he"))], "he", 2),
        ([ended(output=message("he"))], "he", 1),  # nothing before the end
        ([delta("output_text", "h"), delta("output_text", "e"), done("output_text", "he"), ended(output=message("he"))], "he", 2),
        ([done("function_call_arguments", '{"a": 1}'), ended()], "", 1),
        ([{"type": "response.output_item.done", "item": message("he")[0]}, ended(output=message("he"))], "he", 1),
        ([{"type": "response.output_item.done", "item": None}, ended(output=message("he"))], "he", 1),
        ([CONTENT_PART, {"type": "response.output_item.done", "item": message("he")[0]}, ended()], "he", 1),
        ([delta("output_text", "he"), CONTENT_PART, ended()], "he", 1),
    ],
)
def test_output_that_comes_as_a_whole_counts_where_no_pieces_came(events: list[Event], reply: str, chunks: int) -> None:
    outcome = stream(CREATED, *events)
    assert (outcome.status, outcome.reply, len(outcome.chunks)) == ("ok", reply, chunks)


def test_an_error_without_words_is_an_error() -> None:
    outcome = stream(CREATED, {"type": "error", "message": None, "code": "server_error"})
    assert outcome.status == "stream_error"
    assert "server_error" in (outcome.error or "")


@pytest.mark.parametrize(
    ("value", "reply", "chunks"),
    [
        ({"type": "text_delta", "text": "x"}, "xhe", 2),
        ({"type": "thinking_delta", "thinking": "hm"}, "he", 2),
        ({"type": "input_json_delta", "partial_json": '{"a":'}, "he", 2),
        ({"type": "input_json_delta", "partial_json": ""}, "he", 1),
        ({"type": "signature_delta", "signature": "abc"}, "he", 1),
        ({"type": "citations_delta", "citation": {"cited_text": "abc"}}, "he", 1),
    ],
)
def test_what_of_a_message_is_output(value: Event, reply: str, chunks: int) -> None:
    outcome = stream(start(input_tokens=8), {"type": "ping"}, block(value), TEXT, stop(), STOP)
    assert (outcome.status, outcome.reply, len(outcome.chunks)) == ("ok", reply, chunks)
    assert outcome.reader.unknown_field is None
    assert (outcome.reader.finish_reason, outcome.reader.response_id) == ("end_turn", "m1")


def test_the_name_of_a_used_tool_is_output() -> None:
    tool = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "run", "input": {}},
    }
    empty = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}
    outcome = stream(start(), tool, empty, stop("tool_use", input_tokens=8), STOP)
    assert [chunk.received_at_s for chunk in outcome.chunks] == [1.0]
    assert outcome.reader.prompt_tokens == 8


@pytest.mark.parametrize(
    ("first", "last", "prompt", "cached"),
    [
        ({"input_tokens": 36, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 4}, {}, 100, 60),  # Anthropic
        (
            {"input_tokens": 100},
            {"input_tokens": 36, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 0},
            100,
            64,
        ),  # vLLM
        ({"input_tokens": 100}, {"input_tokens": 0, "cache_read_input_tokens": 100}, 100, 100),
        ({"input_tokens": 100}, {"input_tokens": 0}, 100, None),  # a gateway's placeholder
        ({"input_tokens": 100}, {}, 100, None),
        (
            {"input_tokens": 4, "cache_read_input_tokens": 96},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
            100,
            96,
        ),
        ({}, {}, None, None),
        ({"input_tokens": 36, "cache_read_input_tokens": "many"}, {}, None, None),
    ],
)
def test_prompt_tokens_of_a_message_are_the_sum_of_its_parts(
    first: Event, last: Event, prompt: int | None, cached: int | None
) -> None:
    reader = stream(start(**first), TEXT, stop(**last), STOP).reader
    assert (reader.prompt_tokens, reader.cached_tokens, reader.output_tokens) == (prompt, cached, 9)


def test_a_response_that_counts_as_a_chat_does() -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 32}}
    reader = stream(CREATED, delta("output_text", "he"), ended(usage=usage)).reader
    assert (reader.prompt_tokens, reader.cached_tokens, reader.output_tokens) == (40, 32, 9)


def test_a_message_that_was_cut_or_failed() -> None:
    cut = stream(start(input_tokens=8), TEXT, TEXT)
    assert (cut.status, cut.reader.prompt_tokens, cut.reader.output_tokens) == ("cut", 8, None)  # the 1 at its start is no count
    assert cut.reader.counts.rejected is None
    failed = stream(start(), TEXT, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert (failed.status, failed.error) == ("stream_error", "Overloaded")
    assert stream(start(), stop(), STOP).status == "no_output"
    assert stream(start(), TEXT, stop(None), STOP).status == "cut"


def test_whole_answers_of_servers_that_do_not_stream() -> None:
    usage = {"input_tokens": 8, "output_tokens": 2, "cache_read_input_tokens": 16}
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "he"}]
    message = {"type": "message", "id": "m", "content": content, "stop_reason": "max_tokens", "usage": usage}
    outcome = read(json.dumps(message).encode(), kind="application/json")
    assert (outcome.status, outcome.reply, outcome.reader.prompt_tokens) == ("ok", "he", 24)
    item = {"type": "message", "content": [{"type": "output_text", "text": "he"}]}
    response = {"object": "response", "id": "r", "status": "completed", "output": [item], "error": None, **{"usage": usage}}
    outcome = read(json.dumps(response).encode(), kind="application/json")
    assert (outcome.status, outcome.reply, outcome.reader.prompt_tokens) == ("ok", "he", 8)
    tool = {"type": "message", "content": [{"type": "tool_use", "name": "run", "input": {}}], "stop_reason": "tool_use"}
    assert read(json.dumps(tool).encode(), kind="application/json").status == "ok"


def test_equal_events_are_recognised_without_a_parser() -> None:
    """With and without templates: the same result, also where a text has a quote or an event has two."""
    words = ["he", "llo", " wor", 'ld"', "é", "!", "?", " a", " b"]
    pieces = [named(event) for event in (start(), *(block({"type": "text_delta", "text": word}) for word in words), stop(), STOP)]
    assert read(*pieces).reply == "".join(words)
    assert len(read(*pieces).chunks) == len(words)


def test_token_ids_are_output_and_tell_their_number() -> None:
    choices = [
        {"index": 0, "token_ids": ids, "finish_reason": end} for ids, end in (([5], None), ([6, 7], None), ([8], "length"))
    ]
    pieces = [f"data: {json.dumps({'request_id': 'g', 'choices': [choice]})}\n\n".encode() for choice in choices]
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    outcome = read(*pieces, usage, b"data: [DONE]\n\n", asked=4)
    assert (outcome.status, outcome.reply) == ("ok", "")
    assert [chunk.tokens for chunk in outcome.chunks] == [1, 2, 1]
    assert outcome.reader.response_id == "g"


@pytest.mark.parametrize(
    "answer",
    [
        {"object": "response", "status": "completed", "output": 5},
        {"object": "response", "status": "completed", "output": [{"type": "message", "content": 5}]},
        {"type": "message", "stop_reason": "end_turn", "content": 5},
    ],
)
def test_a_whole_answer_of_another_shape_carries_nothing(answer: Event) -> None:
    assert read(f"data: {json.dumps(answer)}\n\n".encode()).status == "no_output"
