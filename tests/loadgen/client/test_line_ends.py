"""Lines may end with LF, CRLF or CR, and reads may cut a stream anywhere: the events and their stamps are the same."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from locust_kvcache.loadgen.client.content_template import template_of
from locust_kvcache.loadgen.client.sse import EventReader
from tests.samples import examples

BOM = b"\xef\xbb\xbf"
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def one_line(number: int) -> list[bytes]:
    return [b"data: " + value_of(number), b""]


def without_a_space(number: int) -> list[bytes]:
    return [b"data:" + value_of(number), b""]


def several_lines(number: int) -> list[bytes]:
    return [*[b"data: " + line for line in value_of(number, indent=1).split(b"\n")], b""]


def with_fields(number: int) -> list[bytes]:
    return [b"id: 7", b"event: message", b"data: " + value_of(number), b"retry: 10", b""]


def comment(number: int) -> list[bytes]:
    return [b": keep-alive", b""]


def comment_inside(number: int) -> list[bytes]:
    first, *rest = several_lines(number)
    return [first, b":", *rest]


FORMS = [one_line, one_line, without_a_space, several_lines, with_fields, comment, comment_inside]


def value_of(number: int, indent: int | None = None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": f" w{number}"}}]}, indent=indent).encode()


def written(forms: list[Any], ends: list[bytes], last_lines_left_out: int) -> tuple[bytes, list[int]]:
    """A stream, and for each of its outputs the place of the byte that completes its last data line."""
    lines = [(number, line) for number, form in enumerate(forms) for line in form(number)]
    stream, places, after_cr = b"", {}, False
    for at, (number, line) in enumerate(lines):
        end = ends[at % len(ends)]
        if after_cr and not line and end == b"\n":
            end = b"\r\n"  # CR, nothing, LF would be one line end, not two
        if at >= len(lines) - last_lines_left_out:
            end = b""
        stream += line
        if line.startswith(b"data:"):
            places[number] = len(stream) if end else len(stream) - 1
        stream, after_cr = stream + end, end == b"\r"
    return stream, list(places.values())


def read(stream: bytes, cuts: list[int], learns: bool, folded: bool) -> tuple[EventReader, list[int]]:
    """What was read, the n-th piece in second n; and the edges of the pieces."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(stream)}), len(stream)]
    pieces = [(float(number), stream[a:b]) for number, (a, b) in enumerate(itertools.pairwise(edges))]
    reader = EventReader(learns)
    for feed in [[piece] for piece in pieces] if folded else [pieces]:
        reader.feed(feed)
    reader.finish(True)
    return reader, edges


@examples(600)
@given(
    st.lists(st.sampled_from(FORMS), min_size=1, max_size=8),
    st.lists(ENDS, min_size=1, max_size=5),
    st.lists(st.integers(1, 900), max_size=20),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example([one_line] * 5, [b"\r"], [], 0, True, False, False)
@example([several_lines] * 2, [b"\r\n"], list(range(1, 900)), 0, True, True, True)
@example([one_line] * 4, [b"\r", b"\r\n"], [], 2, True, False, False)
def test_line_ends_and_cuts_change_neither_events_nor_their_stamps(
    forms: list[Any], ends: list[bytes], cuts: list[int], left_out: int, learns: bool, folded: bool, marked: bool
) -> None:
    if forms[-1] in (with_fields, comment):
        left_out = 0  # its last lines are no data
    stream, places = written(forms, ends, left_out)
    mark = BOM if marked else b""
    reader, edges = read(mark + stream, cuts, learns, folded)
    numbers = [number for number, form in enumerate(forms) if form is not comment]
    assert reader.failure is None
    assert reader.reply == "".join(f" w{number}" for number in numbers)
    stamps = [next(n for n, edge in enumerate(edges[1:]) if place + len(mark) < edge) for place in places]
    assert [chunk.received_at_s for chunk in reader.log.chunks()] == stamps


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_errors_and_the_end_of_a_stream_by_any_line_end(end: bytes) -> None:
    lines = [b"data: " + value_of(0), b"", b"event: error", b"data: worker 3 died", b"", b"data: [DONE]", b"", b""]
    reader, _ = read(end.join(lines), [], learns=True, folded=False)
    assert (reader.failure, reader.done, len(reader.log)) == (("stream_error", "worker 3 died"), True, 1)


def test_an_error_line_that_never_ends_is_an_error() -> None:
    reader, _ = read(b'error: {"code": 500, "message": "slot 2 is gone"}', [], learns=True, folded=False)
    assert reader.failure == ("stream_error", "slot 2 is gone")


def test_events_with_cr_are_learned_too() -> None:
    usual = b"data: " + value_of(0)
    assert template_of(usual + b"\r\r") is not None
    assert template_of(b": ping\rid: 4\r" + usual + b"\r\r") is not None
    assert template_of(b'id: 4\rdata: {"error": "no"}\r\r' + usual + b"\r\r") is None
