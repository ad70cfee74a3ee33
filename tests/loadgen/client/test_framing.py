"""The HTTP framing of a response: whole chunks of whole events are taken without the parser, and nothing else is."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.client import framing as module
from locust_kvcache.loadgen.client.framing import FIRST_PIECES, Framing, Response
from tests.samples import examples

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
EVENT = b'data: {"n":1}\n\n'
BODIES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.binary(max_size=40).map(lambda data: b"data: {" + data + b"}\n\n"),
    st.sampled_from([EVENT, b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"data: [DONE]\n\n", b"9\r\n" + EVENT + b"\r\n", b"}\n\n"]),
)


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def taken(pieces: list[bytes]) -> tuple[list[tuple[float, bytes]], bool, bool, str, int]:
    """Body pieces with stamps, whether the response was complete and how, the parser's error, and the bytes of the body."""
    response, error = Response(), ""
    framing = Framing(response)
    framing.on_done = lambda: None  # what follows [DONE] is waited for
    try:
        for number, piece in enumerate(pieces):
            if framing.take(number / 1000, piece):  # within the grace after [DONE]
                break
    except httptools.HttpParserError as found:
        error = type(found).__name__
    framing.end()
    return response.segments, response.complete, framing.done, error, response.body_bytes


@examples(400)
@given(st.lists(BODIES, max_size=8), st.sampled_from([b"", b";x=1"]), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_the_parser_alone_hears_the_same(bodies: list[bytes], extension: bytes, cuts: list[int], whole_chunks: bool) -> None:
    frames = [HEAD, *(chunk(body, extension) for body in bodies), END]
    stream = b"".join(frames)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = frames if whole_chunks else [stream[a:b] for a, b in itertools.pairwise(places)]
    found = taken(pieces)
    with patch.object(module, "_chunk_bytes", lambda _: -1):
        assert found == taken(pieces)
    assert b"".join(data for _, data in found[0]) == b"".join(bodies)


@examples(300)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=30), st.just(EVENT), st.just(chunk(EVENT))), max_size=6))
def test_what_is_no_chunk_goes_to_the_parser(pieces: list[bytes]) -> None:
    pieces = [HEAD, chunk(EVENT), *pieces]
    found = taken(pieces)
    with patch.object(module, "_chunk_bytes", lambda _: -1):
        assert found == taken(pieces)


def test_done_at_the_start_of_a_line_is_heard_after_a_chunk_that_was_not_parsed() -> None:
    """The chunk before that one did not end its line."""
    pieces = [HEAD, *(chunk(EVENT) for _ in range(FIRST_PIECES)), chunk(b"x"), chunk(b"}\n\n"), chunk(b"data: [DONE]")]
    assert taken(pieces)[2], "[DONE] was heard"


@pytest.mark.parametrize("line", [b"+3", b"0x3", b" 3", b"3_0", b"3;x", b"", b"0", b"00"])
def test_a_size_line_that_is_not_plain_is_left_to_the_parser(line: bytes) -> None:
    assert module._chunk_bytes(line) == -1


@pytest.mark.parametrize("kernel_stamps", [True, False])
def test_whole_chunks_do_not_reach_the_parser(kernel_stamps: bool) -> None:
    framing = Framing(Response(kernel_stamps=kernel_stamps))
    framing.take(0.0, HEAD)
    first = FIRST_PIECES if kernel_stamps else 1
    for number in range(first):
        framing.take(1.0 + number, chunk(EVENT))
    fed: list[bytes] = []
    with patch.object(framing, "_parse", lambda _, data: bool(fed.append(data))):
        framing.take(100.0, chunk(EVENT))
        framing.take(101.0, chunk(EVENT) + chunk(EVENT))
    assert fed == [chunk(EVENT) + chunk(EVENT)]
    assert framing.response.segments == [*((1.0 + n, EVENT) for n in range(first)), (100.0, EVENT)]
    assert framing.stamp_s == 100.0  # an idle timeout counts from it


def test_a_body_is_limited_on_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 2000)
    monkeypatch.setattr(module, "FOLD_BYTES", 500)
    for body in (EVENT, b"x" * len(EVENT)):  # without the parser, and with it
        framing = Framing(Response())
        framing.take(0.0, HEAD)
        endless = (framing.take(1.0, chunk(piece)) for piece in itertools.repeat(body, 1000))
        with pytest.raises(module.ResponseTooLarge):
            list(endless)
