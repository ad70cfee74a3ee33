"""Events that differ in their text alone are taken without a parser: the result is the same as with one, whatever a stream holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.client.content_template import template_of
from locust_kvcache.loadgen.client.sse import EventReader
from tests.samples import examples


def event(text: str, field: str = "content", spaced: bool = False, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {field: text}, "finish_reason": None}
    value = {"id": "chatcmpl-1", "choices": [choice], **more}
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=separators).encode("utf-8", "surrogatepass") + b"\n\n"


def heard(pieces: list[bytes], learns: bool) -> tuple[Any, ...]:
    reader = EventReader(learns)
    reader.feed([(float(number), piece) for number, piece in enumerate(pieces)])
    reader.finish(True)
    return (
        reader.log.chunks(),
        reader.reply,
        reader.counts,
        reader.finish_reason,
        reader.failure,
        reader.first_choice_at_s,
        reader.unknown_field,
    )


TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(["a", ' "quoted" ', "\\", "line\n", "\ud83d", "日本", "\x01", "\u2028", "é"])
)
EVENTS = st.one_of(
    st.builds(
        event, TEXTS, st.sampled_from(["content", "content", "content", "reasoning", "text", "thinking", "name", "refusal"])
    ),
    st.builds(event, TEXTS, spaced=st.booleans(), created=st.sampled_from([1, 2])),
    st.builds(event, TEXTS, content=TEXTS),
    st.builds(
        event,
        TEXTS,
        usage=st.sampled_from([None, {"prompt_tokens": 5, "completion_tokens": 2}, {"prompt_tokens": 5, "completion_tokens": 3}]),
    ),
    st.builds(event, TEXTS, error=st.sampled_from([None, "no", {"message": "no"}]), object=st.sampled_from(["chunk", "error"])),
    st.builds(lambda text: event(text).replace(b'"finish_reason":null', b'"finish_reason":"stop"'), TEXTS),
    st.builds(lambda text: event(text).replace(b"\n\n", b"\r\n\r\n"), TEXTS),
    st.builds(lambda text: b"event: message\n" + event(text), TEXTS),
    st.builds(lambda text: b"event: error\n" + event(text), TEXTS),
    st.builds(lambda text: b": ping\n\n" + event(text), TEXTS),
    st.sampled_from([b"data: [DONE]\n\n", b"\n", b"data: {\n", b"data: 5\n\n", b'data: {"choices":[]}\n\n', b"\xff\xfe"]),
)


@examples(400)
@given(st.lists(EVENTS, max_size=12), st.lists(st.integers(1, 400), max_size=4))
def test_a_reader_that_learns_hears_the_same(events: list[bytes], cuts: list[int]) -> None:
    pieces: list[bytes] = []
    for number, piece in enumerate(events * 2):
        at = cuts[number % len(cuts)] if cuts else len(piece)
        pieces += [part for part in (piece[:at], piece[at:]) if part]
    assert heard(pieces, learns=True) == heard(pieces, learns=False)


def test_a_usual_stream_is_learned() -> None:
    found = template_of(event("Hello"))
    assert found is not None
    assert found.visible
    pieces = [(1.0, event("a")), (2.0, event(" b")), (3.0, b"data: [DONE]\n\n"), (4.0, event("e"))]
    assert found.matching(pieces, 0) == ([1.0, 2.0], ["a b"])
    pieces[2] = (3.0, event("c") + event("d"))  # begins and ends like one event
    assert found.matching(pieces, 0) == ([1.0, 2.0], ["a", " b"])


def test_texts_that_json_writes_in_another_way_end_what_matches() -> None:
    found = template_of(event("Hello"))
    assert found is not None
    half = event("b").replace(b'"content":"b"', b'"content":"\xc3"')
    pieces = [event("a"), event("é"), half, event("c")]
    assert found.matching([(float(at), piece) for at, piece in enumerate(pieces)], 0) == ([0.0, 1.0], ["a", "é"])
    pieces = [event("a"), event("b\n"), event("c")]
    assert found.matching([(float(at), piece) for at, piece in enumerate(pieces)], 0) == ([0.0], ["a"])


def test_reasoning_is_output_that_is_not_visible() -> None:
    found = template_of(event("hm", "reasoning_content"))
    assert found is not None
    assert not found.visible


def test_what_says_more_than_a_text_is_no_template() -> None:
    assert template_of(event("a", usage={"prompt_tokens": 3})) is None
    assert template_of(event("a", error="no")) is None
    assert template_of(event("a") + event("b")) is None
    assert template_of(event("a").replace(b"null", b'"stop"')) is None
    assert template_of(b"event: error\n" + event("a")) is None
    assert template_of(event("a")[:-2]) is None  # the line may go on
    assert template_of(event("\u0061", content="a").replace(b'"delta":{"content":"a"}', b'"delta":{"content":"\\u0061"}')) is None


def test_a_line_without_an_end_is_not_copied_for_each_piece() -> None:
    reader = EventReader()
    reader.feed([(1.0, b"data: ")])
    for _ in range(5_000):
        reader.feed([(1.0, b"x" * 100)])
    assert len(reader._rest) == 5_001  # joined once, at the line's end: 64 MB in small pieces would cost minutes otherwise
