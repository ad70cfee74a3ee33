"""The streaming client against bytes on a real socket: whatever a server does gives an outcome with a class, times and tokens."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import gc
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.monkey
import psutil
import pytest
from gevent import socket
from gevent.server import StreamServer
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.record import STATUSES
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.framing import Response
from locust_kvcache.loadgen.client.stream import StreamOutcome, StreamStopped, finish_outcome, parse_stream, stream_request
from locust_kvcache.loadgen.client.target import Target
from tests.samples import examples

Script = Callable[[socket.socket], None]


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 50, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 32}}
WHOLE = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Hello"}),
    event({"content": " there"}, "length"),
    event(usage=USAGE),
    b"data: [DONE]\n\n",
]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*WHOLE)


class Server:
    """Plays a script for each connection, and counts connections and requests."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = self.requests = 0
        self.server = StreamServer(("127.0.0.1", 0), self._serve)
        self.server.start()

    def _serve(self, peer: socket.socket, _: Any) -> None:
        self.connections += 1
        while request := self._read(peer):
            self.requests += 1
            assert request.endswith(b"{}")
            self.script(peer)
            if peer.fileno() < 0:
                return

    @staticmethod
    def _read(peer: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n{}"):
            more = peer.recv(4096)
            if not more:
                return b""
            data += more
        return data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    started: list[Server] = []

    def start(script: Script) -> Server:
        started.append(Server(script))
        return started[-1]

    yield start
    for server in started:
        server.server.stop()


def ask(url: str, timeout_s: float = 5.0, connection: Connection | None = None) -> StreamOutcome:
    target = Target.from_url(url)
    outcome = StreamOutcome()
    stream_request(
        connection or Connection(target), target.request_head("/v1/chat/completions", 2, None) + b"{}", timeout_s, outcome
    )
    assert outcome.status in STATUSES
    return outcome


def test_a_whole_stream(serve: Any) -> None:
    outcome = ask(serve(lambda peer: peer.sendall(CHUNKED)).url)
    assert outcome.status == "ok"
    assert outcome.reply == "Hello there"
    assert len(outcome.chunks) == 2
    assert (outcome.reader.prompt_tokens, outcome.reader.output_tokens, outcome.reader.cached_tokens) == (50, 2, 32)
    assert outcome.reader.finish_reason == "length"


def test_ttft_is_the_first_output_not_the_role_chunk(serve: Any) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(WHOLE[0])[:-5])
        gevent.sleep(0.15)
        peer.sendall(chunked(*WHOLE[1:]))

    outcome = ask(serve(script).url)
    sent_s = outcome.response.sent_at_s
    assert outcome.reader.first_choice_at_s is not None
    assert outcome.reader.first_choice_at_s - sent_s < 0.1
    assert 0.14 < outcome.chunks[0].received_at_s - sent_s < 0.5


def test_kernel_stamps_do_not_move_when_the_loop_is_late(serve: Any) -> None:
    """The process is blocked for 300 ms after the first token arrived: the kernel's stamp does not mind."""

    def script(peer: socket.socket) -> None:
        peer.sendall(CHUNKED)
        time.sleep(0.3)  # blocks the client too: both live in this process

    outcome = ask(serve(script).url)
    assert outcome.response.kernel_stamps, "this platform gives no kernel receive stamps on loopback TCP"
    assert outcome.chunks[0].received_at_s - outcome.response.sent_at_s < 0.1


def test_the_connection_is_kept_and_a_request_never_sent_twice(serve: Any) -> None:
    server = serve(lambda peer: peer.sendall(CHUNKED))
    connection = Connection(Target.from_url(server.url))
    first, second = ask(server.url, connection=connection), ask(server.url, connection=connection)
    assert (first.response.connect_ms is not None, second.response.connect_ms) == (True, None)
    assert (server.connections, server.requests) == (1, 2)


def test_a_connection_that_the_server_closed_is_opened_again_before_sending(serve: Any) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(CHUNKED)
        peer.close()

    server = serve(script)
    connection = Connection(Target.from_url(server.url))
    outcomes = []
    for _ in range(2):
        outcomes.append(ask(server.url, connection=connection))
        gevent.sleep(0.05)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
    assert (server.connections, server.requests) == (2, 2)


@pytest.mark.parametrize("more", [CHUNKED, CHUNKED[:90], b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nslow"])
def test_a_second_response_in_the_same_bytes_is_not_the_first_ones(serve: Any, more: bytes) -> None:
    server = serve(lambda peer: peer.sendall(CHUNKED + more))
    connection = Connection(Target.from_url(server.url))
    first = ask(server.url, connection=connection)
    assert (first.status, first.reply, len(first.chunks), first.response.http_status) == ("ok", "Hello there", 2, 200)
    second = ask(server.url, connection=connection)
    assert (second.status, second.reply) == ("ok", "Hello there")
    assert server.connections == 2  # what nobody asked for is not taken for the next answer


def test_a_first_chunk_that_waits_with_the_next_is_known_to_be_uncertain(serve: Any) -> None:
    """The loop stands still for 0.3 s while two chunks come 0.1 s apart: the piece has the second one's stamp at best."""

    def script(peer: socket.socket) -> None:
        peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(WHOLE[0])[:-5])
        gevent.sleep(0.05)
        plain = peer._sock  # a blocking write each, while the loop that both ends share stands still
        plain.send(chunked(WHOLE[1])[:-5])
        sleep = gevent.monkey.get_original("time", "sleep")
        sleep(0.1)
        plain.send(chunked(*WHOLE[2:]))
        sleep(0.2)

    outcome = ask(serve(script).url)
    first, second = outcome.chunks
    assert first.received_at_s == second.received_at_s
    assert 0.09 < outcome.response.unseen_s[first.received_at_s] < 1.0


def test_a_kept_connection_that_closes_at_the_request_is_opened_anew_once(serve: Any) -> None:
    """As llama-server does: each connection is closed after its answer, and its end is seen only when the next request is sent."""
    sockets: list[socket.socket] = []

    def script(peer: socket.socket) -> None:
        if peer in sockets:
            peer.close()  # the second request of a connection: not a byte
            return
        sockets.append(peer)
        peer.sendall(CHUNKED)

    server = serve(script)
    connection = Connection(Target.from_url(server.url))
    outcomes = [ask(server.url, connection=connection) for _ in range(4)]
    assert [outcome.status for outcome in outcomes] == ["ok"] * 4
    assert [outcome.response.reconnected for outcome in outcomes] == [False, True, False, False]
    assert [outcome.response.connect_ms is None for outcome in outcomes] == [False, False, False, False]
    assert (server.connections, server.requests) == (4, 5)  # one request was sent twice: from then on no connection is kept


def test_a_new_connection_that_closes_without_an_answer_is_not_tried_again(serve: Any) -> None:
    server = serve(lambda peer: peer.close())
    assert ask(server.url).status == "reset"
    assert (server.connections, server.requests) == (1, 1)


def test_a_request_is_not_sent_again_after_a_byte_of_an_answer(serve: Any) -> None:
    answers = [CHUNKED, CHUNKED[:30]]

    def script(peer: socket.socket) -> None:
        peer.sendall(answers.pop(0))
        if not answers:
            peer.close()

    server = serve(script)
    connection = Connection(Target.from_url(server.url))
    assert [ask(server.url, connection=connection).status for _ in range(2)] == ["ok", "reset"]
    assert server.requests == 2


def left_open(*pieces: bytes) -> Script:
    """Each piece alone; then the body stays open."""

    def script(peer: socket.socket) -> None:
        peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            peer.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            gevent.sleep(0.01)

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        (*WHOLE[:3], WHOLE[4], WHOLE[3]),
        (*WHOLE[:3], WHOLE[4] + WHOLE[3]),
        (*WHOLE[:2], WHOLE[2] + WHOLE[4] + WHOLE[3]),
        (*WHOLE[:3], WHOLE[4][:9], WHOLE[4][9:] + WHOLE[3][:20], WHOLE[3][20:]),
        (*[event({"content": ""})] * 12, *WHOLE[1:3], WHOLE[4] + WHOLE[3]),
    ],
    ids=["by itself", "with [DONE]", "with output", "cut", "after the first pieces"],
)
def test_usage_after_done_in_a_body_that_is_left_open(serve: Any, pieces: tuple[bytes, ...]) -> None:
    server = serve(left_open(*pieces))
    connection = Connection(Target.from_url(server.url))
    for number in range(3):
        outcome = ask(server.url, connection=connection)
        assert (outcome.status, outcome.end_missing) == ("ok", True), outcome.error
        assert outcome.reader.cached_tokens == 32, f"request {number + 1}"
    assert connection._late_events


def test_nothing_is_waited_for_where_nothing_comes_after_done(serve: Any) -> None:
    server = serve(left_open(*WHOLE))
    connection = Connection(Target.from_url(server.url))
    assert [ask(server.url, connection=connection).end_missing for _ in range(2)] == [True, True]
    assert not connection._late_events
    assert not connection._ends_bodies


def test_a_text_that_says_done_ends_nothing(serve: Any) -> None:
    said = event({"content": "data: [DONE]"}), event({"content": " [DONE]"}, "length")
    server = serve(left_open(WHOLE[0], *said, WHOLE[3], WHOLE[4]))
    connection = Connection(Target.from_url(server.url))
    for _ in range(2):
        assert ask(server.url, connection=connection).reply == "data: [DONE] [DONE]"


def closing(data: bytes) -> Script:
    def script(peer: socket.socket) -> None:
        peer.sendall(data)
        peer.close()

    return script


BODY = b"".join(WHOLE)
FRAMED = HEAD + b"Content-Length: %d\r\n\r\n"
ANSWERS: dict[str, tuple[bytes, str]] = {
    "content length": (FRAMED % len(BODY) + BODY, "ok"),
    "ended by close": (HEAD + b"Connection: close\r\n\r\n" + BODY, "ok"),
    "CRLF lines": (HEAD + b"Connection: close\r\n\r\n" + BODY.replace(b"\n", b"\r\n"), "ok"),
    "no [DONE]": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*WHOLE[:-1]), "ok"),
    "comments": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b": ping\n\n", *WHOLE), "ok"),
    "a length beside chunks": (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n", 1), "ok"),
    "spaces after a chunk's size": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x  \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        "ok",
    ),
    "header lines that end with LF": (CHUNKED.replace(b"\r\n", b"\n", 4), "ok"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED, "ok"),
    "sent as JSON": (CHUNKED.replace(b"text/event-stream", b"application/json"), "ok"),
    "no finish_reason": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*WHOLE[:2], WHOLE[4]), "cut"),
    "closed in the middle": (CHUNKED[: len(CHUNKED) // 2], "cut"),
    "closed before the last chunk": (CHUNKED[:-5], "ok"),
    "empty stream": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no_output"),
    "only a role": (HEAD + b"Connection: close\r\n\r\n" + WHOLE[0] + WHOLE[4], "no_output"),
    "error in the stream": (
        HEAD + b"Connection: close\r\n\r\n" + WHOLE[1] + b'data: {"error": {"message": "kv pool full"}}\n\n',
        "stream_error",
    ),
    "bad JSON": (HEAD + b"Connection: close\r\n\r\ndata: {oops}\n\n", "malformed"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
    "503": (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "http_error"),
    "redirect": (b"HTTP/1.1 307 Moved\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", "http_error"),
    "nothing": (b"", "reset"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_a_server_answers(serve: Any, name: str) -> None:
    data, status = ANSWERS[name]
    outcome = ask(serve(closing(data)).url)
    assert (outcome.status, outcome.error is None) == (status, status == "ok"), outcome.error
    if status == "ok":
        assert (outcome.reply, len(outcome.chunks), outcome.reader.cached_tokens) == ("Hello there", 2, 32)


def test_errors_say_what_the_server_said(serve: Any) -> None:
    assert "busy" in (ask(serve(closing(ANSWERS["503"][0])).url).error or "")
    assert "http://elsewhere/" in (ask(serve(closing(ANSWERS["redirect"][0])).url).error or "")
    assert "kv pool full" in (ask(serve(closing(ANSWERS["error in the stream"][0])).url).error or "")


def test_refused_and_unresolvable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert ask(f"http://127.0.0.1:{port}").status == "refused"
    assert ask("http://no-such-host.invalid:80").status == "connect"


@pytest.mark.parametrize("sent", [b"", HEAD, CHUNKED[:300]], ids=["silent", "headers", "half"])
def test_a_stall_ends_at_the_timeout(serve: Any, sent: bytes) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(sent)
        gevent.sleep(5)

    started_s = time.monotonic()
    assert ask(serve(script).url, timeout_s=0.3).status == "timeout"
    assert time.monotonic() - started_s < 2


def test_a_stopped_stream_keeps_what_it_measured(serve: Any) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(CHUNKED[: CHUNKED.index(b" there")])
        gevent.sleep(5)

    server = serve(script)
    outcome = StreamOutcome()
    target = Target.from_url(server.url)
    request = target.request_head("/v1/chat/completions", 2, None) + b"{}"
    greenlet = gevent.spawn(stream_request, Connection(target), request, 5.0, outcome)
    gevent.sleep(0.2)
    greenlet.kill(StreamStopped)
    assert outcome.status == "stopped"
    assert len(outcome.chunks) == 1


def test_reasoning_tools_and_old_field_names_are_output_but_not_visible() -> None:
    deltas = [
        {"reasoning": "a"},
        {"reasoning_content": "b"},
        {"tool_calls": [{"function": {"arguments": "{"}}]},
        {"content": "c"},
    ]
    body = b"".join(event(delta) for delta in deltas) + event({"content": None}, "stop")
    outcome = StreamOutcome(response=Response(http_status=200, segments=[(1.0, body)], complete=True))
    finish_outcome(outcome)
    assert outcome.status == "ok"
    assert [chunk.visible for chunk in outcome.chunks] == [False, False, False, True]
    assert outcome.reply == "c"


def test_continuous_usage_gives_the_tokens_of_each_chunk() -> None:
    totals = [{"completion_tokens": 3}, {"completion_tokens": 5}]
    body = event({"content": "abc"}, usage=totals[0]) + event({"content": "de"}, "length", usage=totals[1])
    outcome = StreamOutcome(response=Response(http_status=200, segments=[(1.0, body)], complete=True))
    finish_outcome(outcome)
    assert [chunk.tokens for chunk in outcome.chunks] == [3, 2]


def test_cached_tokens_as_other_servers_report_them() -> None:
    for extra in ({"usage": {"prompt_cache_hit_tokens": 7}}, {"timings": {"cache_n": 7}}):
        body = event({"content": "x"}, "stop") + event(**extra)
        outcome = StreamOutcome(response=Response(http_status=200, segments=[(1.0, body)], complete=True))
        finish_outcome(outcome)
        assert outcome.reader.cached_tokens == 7
    body = event({"content": "x"}, "stop") + event(usage={"prompt_tokens": 3, "prompt_tokens_details": None})
    outcome = StreamOutcome(response=Response(http_status=200, segments=[(1.0, body)], complete=True))
    finish_outcome(outcome)
    assert outcome.reader.cached_tokens is None  # not reported is not 0


@examples(200)
@given(st.lists(st.integers(1, len(BODY) - 1), max_size=12))
def test_where_the_bytes_are_split_changes_stamps_but_nothing_else(cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(BODY)]
    segments = [(float(number), BODY[a:b]) for number, (a, b) in enumerate(itertools.pairwise(edges))]
    outcome = StreamOutcome(response=Response(http_status=200, segments=segments, complete=True))
    parse_stream(outcome)
    assert (outcome.status, outcome.reply, outcome.reader.output_tokens, len(outcome.chunks)) == ("ok", "Hello there", 2, 2)
    for chunk, text in zip(outcome.chunks, (b"Hello", b" there"), strict=True):
        line_end = BODY.index(b"\n", BODY.index(text))
        holder = next(number for number, (a, b) in enumerate(itertools.pairwise(edges)) if a <= line_end < b)
        assert chunk.received_at_s == holder  # the segment that completed the line


@examples(200)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_the_parser_raise(body: bytes, complete: bool) -> None:
    outcome = StreamOutcome(response=Response(http_status=200, segments=[(1.0, b"data: " + body)], complete=complete))
    finish_outcome(outcome)
    assert outcome.status in STATUSES


def test_a_request_leaves_no_cycle_and_no_socket_behind(serve: Any) -> None:
    """Collections are off while a round runs, so whatever a request leaves must go by itself."""
    server = serve(lambda peer: peer.sendall(CHUNKED))
    for _ in range(3):
        ask(server.url)
    gc.collect()
    before = len(psutil.Process().net_connections())
    for _ in range(50):
        outcome = ask(server.url)
        del outcome
    gevent.sleep(0.05)
    ours = [thing for thing in gc_garbage() if type(thing).__module__.startswith(("locust_kvcache", "httptools"))]
    assert ours == []
    gevent.sleep(0.05)
    assert len(psutil.Process().net_connections()) <= before


def gc_garbage() -> list[Any]:
    """What only a collection can free now."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
