"""What counts as output, whichever field it comes in, and what ends a stream: event by event, without a socket."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.record import STATUSES
from locust_kvcache.loadgen.client.delta import output_of
from locust_kvcache.loadgen.client.framing import Response
from locust_kvcache.loadgen.client.stream import StreamOutcome, finish_outcome
from tests.samples import examples

DONE = b"data: [DONE]\n\n"


def sse(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(values: dict[str, Any], finish: Any = None, **more: Any) -> bytes:
    return sse({"choices": [{"index": 0, "delta": values, "finish_reason": finish}], **more})


def read(*pieces: bytes, asked: int | None = None, kind: str = "text/event-stream") -> StreamOutcome:
    """The outcome of a stream whose n-th piece came in second n."""
    segments = [(float(number), piece) for number, piece in enumerate(pieces)]
    response = Response(http_status=200, headers={"content-type": kind}, segments=segments, complete=True)
    outcome = StreamOutcome(asked_tokens=asked, response=response)
    finish_outcome(outcome)
    assert outcome.status in STATUSES
    return outcome


OUTPUT: dict[str, tuple[dict[str, Any], str, str | None]] = {  # delta -> visible text, unknown field
    "text": ({"content": "he"}, "he", None),
    "parts": ({"content": [{"type": "text", "text": "he"}, {"type": "output_text", "text": "llo"}]}, "hello", None),
    "thinking parts": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}, "", None),
    "thinking, then text": ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "he"}]}, "he", None),
    "one part": ({"content": {"type": "text", "text": "he"}}, "he", None),
    "reasoning": ({"role": "assistant", "content": "", "reasoning": "hm"}, "", None),
    "reasoning_content": ({"content": None, "reasoning_content": "hm"}, "", None),
    "reasoning_details": (
        {"content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        "",
        "reasoning_details",
    ),
    "a name of tomorrow": ({"role": "assistant", "inner_monologue": {"summary": "hm"}}, "", "inner_monologue"),
    "arguments as text": ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, "", None),
    "arguments as an object": ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]}, "", None),
    "the name of a tool": ({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}]}, "", None),
    "the old function call": ({"function_call": {"arguments": "{"}}, "", None),
    "a refusal": ({"refusal": "no"}, "no", None),
}


@pytest.mark.parametrize("name", OUTPUT)
def test_any_delta_that_carries_output_counts(name: str) -> None:
    values, text, unknown = OUTPUT[name]
    found = output_of({"delta": values})
    assert (found.carries, found.text, found.unknown_field) == (True, text, unknown)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"role": "assistant"},
        {"role": "assistant", "content": ""},
        {"content": None, "tool_calls": None, "reasoning": None},
        {"content": [], "tool_calls": []},
        {"content": [{"type": "text", "text": ""}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "", "format": "unknown", "index": 0}]},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"arguments": ""}}]},
        {"tool_calls": ["odd"], "function_call": "odd"},
    ],
)
def test_a_role_or_an_empty_delta_is_no_output(values: dict[str, Any]) -> None:
    assert not output_of({"delta": values}).carries


def test_ttft_ends_at_the_first_thought_under_whatever_name_it_comes() -> None:
    thought = {"role": "assistant", "content": "", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}
    outcome = read(delta({"role": "assistant"}), delta(thought), delta({"content": "yes"}, "stop"), DONE)
    assert [(chunk.received_at_s, chunk.visible) for chunk in outcome.chunks] == [(1.0, False), (2.0, True)]
    assert outcome.reader.unknown_field == "reasoning_details"
    assert outcome.reply == "yes"


def test_one_token_without_a_text_came_with_the_end_of_its_answer() -> None:
    """Half a character or a special token: the server counts one token, and the chunk that ends the answer is its only chunk."""
    usage = sse({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 1}})
    outcome = read(delta({"role": "assistant"}), delta({"content": ""}, "length"), usage, DONE)
    assert (outcome.status, outcome.reader.output_tokens) == ("ok", 1)
    assert [(chunk.received_at_s, chunk.visible) for chunk in outcome.chunks] == [(1.0, False)]


@pytest.mark.parametrize(("reason", "tokens"), [("stop", 1), ("length", 0), ("length", 2), ("length", None)])
def test_an_answer_without_a_text_is_otherwise_no_output(reason: str, tokens: int | None) -> None:
    usage = sse({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": tokens}})
    assert read(delta({"content": ""}, reason), usage, DONE).status == "no_output"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_byte_order_mark_costs_no_token(ending: bytes) -> None:
    first = (b"\xef\xbb\xbf" + delta({"content": "a"})).replace(b"\n", ending)
    for pieces in ((first,), (first[:2], first[2:])):
        outcome = read(*pieces, delta({"content": "b"}, "stop"))
        assert (outcome.status, outcome.reply, len(outcome.chunks)) == ("ok", "ab", 2)
    assert read(b"\xef\xbb\xbf" + delta({"content": "a"}, "stop").rstrip()).reply == "a"  # the only line, never ended


def test_one_event_over_several_data_lines() -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 1}}, indent=1).encode()
    event = b"".join(b"data: " + line + b"\n" for line in usage.split(b"\n")) + b"\n"
    outcome = read(delta({"content": "a"}, "stop"), event[:9], event[9:], DONE)
    assert (outcome.status, outcome.reader.prompt_tokens, outcome.reader.output_tokens) == ("ok", 50, 1)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (sse({"error": {"message": "kv pool full"}}), "kv pool full"),
        (sse({"object": "error", "message": "out of memory", "code": 500}), "out of memory"),
        (b"event: error\n" + sse({"message": "worker died"}), "worker died"),
        (b"event: error\ndata: upstream timed out\n\n", "upstream timed out"),
        (b'error: {"code": 500, "message": "slot unavailable"}\n\n', "slot unavailable"),
        (sse({"text": "out of memory", "error_code": 50002}), "out of memory"),
        (sse({"detail": "adapter is gone"}), "adapter is gone"),
        (sse({"code": 507, "msg": "no block left"}), "no block left"),
        (sse({"errors": [{"code": "E7", "message": "rank 2 died"}]}), "rank 2 died"),
        (sse({"error": True, "message": "queue closed"}), "queue closed"),
        (sse({"choices": [{"index": 0, "delta": {}, "error": {"message": "provider gone"}}]}), "provider gone"),
    ],
)
def test_errors_inside_a_stream_in_every_form(event: bytes, said: str) -> None:
    for pieces in ((event,), (delta({"content": "a"}, "stop"), event)):  # also after the finish_reason
        outcome = read(*pieces, DONE)
        assert outcome.status == "stream_error"
        assert said in (outcome.error or "")


@pytest.mark.parametrize("ended", ["timeout", "stopped", "reset"])
def test_an_error_in_a_stream_that_never_ended_is_its_cause(ended: str) -> None:
    """What the client saw at last, a timeout say, came after it. A stream that was merely cut has no other cause."""
    cut = delta({"content": "a"}) + b'data: {"cho'
    for body, status in (sse({"error": "rank 2 died"}), "stream_error"), (delta({}, "abort"), "aborted"), (cut, ended):
        response = Response(http_status=200, segments=[(0.0, body)], complete=False)
        outcome = StreamOutcome(asked_tokens=4, response=response)
        outcome.fail(ended, "no more came")
        finish_outcome(outcome)
        assert outcome.status == status


def test_lines_of_json_are_no_events_and_an_object_that_was_cut_off_is_cut() -> None:
    lines = b'{"choices": []}\n{"choices": []}\n'
    assert "neither one JSON object nor server-sent events" in (read(lines).error or "")
    cut = StreamOutcome(response=Response(http_status=200, segments=[(0.0, b'{"choices": [')], complete=False))
    finish_outcome(cut)
    assert cut.status == "cut"


@pytest.mark.parametrize("page", [b"<html><title>Sign in</title>" + b" " * 50_000 + b"</html>", b"<title>Sign in</title>\n" * 3])
def test_a_page_instead_of_events_is_named_with_its_first_words(page: bytes) -> None:
    outcome = read(*[page[at : at + 20_000] for at in range(0, len(page), 20_000)], kind="text/html; charset=x")
    assert (outcome.status, outcome.error) == ("http_error", "HTTP 200 and text/html instead of events: Sign in")
    assert read(b": ping\n\n").status == "no_output"


@pytest.mark.parametrize("reason", ["abort", "error", "preempted"])
def test_an_answer_that_the_server_gave_up_failed_with_its_reason(reason: str) -> None:
    pieces = [delta({"content": word}) for word in "ab"]
    outcome = read(*pieces, delta({"content": "c"}, reason), sse({"choices": [], "usage": {"completion_tokens": 3}}), asked=40)
    assert outcome.status == "aborted"
    assert outcome.error == f"finish_reason {reason!r} after 3 of 40 tokens"
    assert read(delta({}, reason), asked=40).status == "aborted"  # not merely "no output"


def test_what_the_server_says_beside_its_reason_is_told() -> None:
    sglang = delta({"content": "a"}, {"type": "abort", "message": "KV cache pool is full", "status_code": 503})
    assert (read(sglang, asked=4).error or "").endswith("'abort' after 1 of 4 tokens: KV cache pool is full")
    router = sse(
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "error", "error": {"code": 502, "message": "provider gone"}}]}
    )
    assert (read(router, asked=4).error or "").endswith("'error' after 1 of 4 tokens: provider gone")


def test_halves_of_a_character_in_two_chunks() -> None:
    halves = [b'data: {"choices": [{"delta": {"content": "\\u%s"}}]}\n\n' % half for half in (b"d83d", b"de00")]
    outcome = read(*halves, delta({"content": "!"}, "stop"))
    assert (outcome.status, outcome.reply, len(outcome.chunks)) == ("ok", "\U0001f600!", 3)
    cut = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % part for part in (b"\xf0\x9f", b"\x98\x80")]
    outcome = read(*cut, delta({"content": "!"}, "stop"))
    assert (outcome.status, len(outcome.chunks)) == ("ok", 3)
    outcome.reply.encode()  # can be sent again


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_tokens"])
@pytest.mark.parametrize("value", ["7", True, -7, 1e40, [7]])
def test_impossible_usage_is_missing_and_named(name: str, value: Any) -> None:
    usage: dict[str, Any] = {"prompt_tokens": 50, "completion_tokens": 7, "cached_tokens": 32} | {name: value}
    outcome = read(delta({"content": "a"}, "stop"), sse({"choices": [], "usage": usage}))
    reader = outcome.reader
    found = {
        "prompt_tokens": reader.prompt_tokens,
        "completion_tokens": reader.output_tokens,
        "cached_tokens": reader.cached_tokens,
    }
    assert outcome.status == "ok"
    assert [key for key, count in found.items() if count is None] == [name]
    assert name in (reader.counts.rejected or "")


def test_cached_tokens_under_every_name_that_is_known() -> None:
    for usage in (
        {"prompt_tokens": 50, "prompt_tokens_details": {"cached_tokens": 32}},
        {"prompt_tokens": 50, "cached_tokens": 32.0},
        {"prompt_tokens": 50, "prompt_cache_hit_tokens": 32},
    ):
        assert read(delta({"content": "a"}, "stop"), sse({"usage": usage})).reader.cached_tokens == 32
    in_choice = sse(
        {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop", "usage": {"prompt_tokens": 50, "cached_tokens": 32}}]}
    )
    assert read(in_choice).reader.cached_tokens == 32


KEYS = st.sampled_from(
    "choices delta content text type tool_calls function arguments function_call finish_reason usage prompt_tokens completion_tokens "
    "prompt_tokens_details cached_tokens timings cache_n error message object event reasoning x".split()
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@examples(300)
@given(st.lists(st.dictionaries(KEYS, json_values, max_size=4), max_size=4), st.booleans())
def test_no_json_makes_the_reader_raise(events: list[dict[str, Any]], in_a_choice: bool) -> None:
    values = [{"choices": [{"index": 0, "delta": event, **event}], **event} if in_a_choice else event for event in events]
    read(*[sse(value) for value in values])
