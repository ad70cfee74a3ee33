"""Connections as real deployments have them: TLS, certificates, proxies, IPv6, base paths, limits; and nothing left behind by faults."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import collections
import gc
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import psutil
import pytest
import trustme
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.loadgen.client import framing as _http
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.client.target import Target
from tests.loadgen.client.test_stream import CHUNKED, HEAD, WHOLE, chunked


def read_request(peer: Any) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n{}"):
        more = peer.recv(4096)
        if not more:
            return b""
        data += more
    return data


class Answering:
    """Answers every request with the same bytes, and keeps what it was asked."""

    def __init__(self, answer: bytes = CHUNKED, address: tuple[str, int] = ("127.0.0.1", 0), **tls: Any) -> None:
        self.answer, self.requests = answer, []
        self.server = StreamServer(address, self._serve, **tls)
        self.server.start()

    def _serve(self, peer: Any, _: Any) -> None:
        while request := read_request(peer):
            self.requests.append(request)
            peer.sendall(self.answer)

    @property
    def port(self) -> int:
        return int(self.server.server_port)


@pytest.fixture
def server() -> Iterator[type[Answering]]:
    made: list[Answering] = []

    class Made(Answering):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    yield Made
    for one in made:
        one.server.stop()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def ask(url: str, transport: Transport | None = None, idle_timeout_s: float | None = None) -> StreamOutcome:
    target = Target.from_url(url, transport)
    outcome = StreamOutcome()
    connection = Connection(target, idle_timeout_s)
    stream_request(connection, target.request_head("/v1/chat/completions", 2, "k3y") + b"{}", 5.0, outcome)
    connection.close()
    return outcome


@pytest.fixture
def tls_server(server: type[Answering], ca: trustme.CA) -> Answering:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    return server(ssl_context=context)


def test_tls_is_verified_unless_the_deployment_says_otherwise(tls_server: Answering, ca: trustme.CA, tmp_path: Path) -> None:
    url = f"https://localhost:{tls_server.port}"
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    refused = ask(url)
    assert refused.status == "tls"
    assert "certificate verify failed" in (refused.error or "")
    trusted = ask(url, Transport(ca_file=str(tmp_path / "ca.pem")))
    assert (trusted.status, trusted.response.kernel_stamps) == ("ok", False)  # stamps say that the process made them
    assert ask(url, Transport(verify=False)).status == "ok"
    wrong_name = ask(f"https://127.0.0.1:{tls_server.port}", Transport(ca_file=str(tmp_path / "ca.pem")))
    assert wrong_name.status == "tls"


def test_a_kept_tls_connection_waits_for_its_next_answer(server: type[Answering], ca: trustme.CA) -> None:
    """The end of a body that comes after its [DONE], as uvicorn sends it, leaves no short limit behind on the socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)

    class Slow(server):  # type: ignore[misc, valid-type]
        def _serve(self, peer: Any, _: Any) -> None:
            while read_request(peer):
                gevent.sleep(0.4)
                peer.sendall(CHUNKED[: -len(b"0\r\n\r\n")])
                gevent.sleep(0.05)
                peer.sendall(b"0\r\n\r\n")

    target = Target.from_url(f"https://localhost:{Slow(ssl_context=context).port}", Transport(verify=False))
    connection = Connection(target)
    outcomes = [StreamOutcome() for _ in range(3)]
    for outcome in outcomes:
        stream_request(connection, target.request_head("/v1/chat/completions", 2, None) + b"{}", 5.0, outcome)
    connection.close()
    assert [(outcome.status, outcome.error) for outcome in outcomes] == [("ok", None)] * 3
    assert outcomes[2].response.connect_ms is None  # it was kept


def test_a_client_certificate_is_shown(server: type[Answering], ca: trustme.CA, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    ca.issue_cert("localhost").configure_cert(context)
    url = f"https://localhost:{server(ssl_context=context).port}"
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = ca.issue_cert("client@example.org")
    mine.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mine.pem"))
    assert ask(url, Transport(ca_file=str(tmp_path / "ca.pem"))).status in ("tls", "reset")
    with_mine = Transport(ca_file=str(tmp_path / "ca.pem"), client_cert=str(tmp_path / "mine.pem"))
    assert ask(url, with_mine).status == "ok"


class Proxy:
    """A forward proxy: tunnels CONNECT, and answers absolute requests itself."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse, self.seen = refuse, []
        self.server = StreamServer(("127.0.0.1", 0), self._serve)
        self.server.start()

    def _serve(self, peer: Any, _: Any) -> None:
        head = peer.recv(4096)
        self.seen.append(head.split(b"\r\n")[0])
        if self.refuse:
            peer.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif head.startswith(b"CONNECT"):
            host, port = head.split()[1].decode().split(":")
            inner = socket.create_connection((host, int(port)))
            peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            gevent.joinall([gevent.spawn(self._copy, peer, inner), gevent.spawn(self._copy, inner, peer)])
        else:
            peer.sendall(CHUNKED)
        peer.close()

    @staticmethod
    def _copy(source: Any, sink: Any) -> None:
        try:
            while data := source.recv(4096):
                sink.sendall(data)
        except OSError:
            pass
        sink.close()


def test_a_proxy_for_http_and_a_tunnel_for_https(tls_server: Answering, ca: trustme.CA, tmp_path: Path) -> None:
    proxy = Proxy()
    via = f"http://127.0.0.1:{proxy.server.server_port}"
    assert ask("http://example.invalid:81/base", Transport(proxy=via)).status == "ok"
    assert proxy.seen[0] == b"POST http://example.invalid:81/base/v1/chat/completions HTTP/1.1"
    outcome = ask(f"https://localhost:{tls_server.port}", Transport(proxy=via, verify=False))
    assert outcome.status == "ok", outcome.error
    assert proxy.seen[1] == f"CONNECT localhost:{tls_server.port} HTTP/1.1".encode()
    refusing = f"http://127.0.0.1:{Proxy(refuse=True).server.server_port}"
    refused = ask(f"https://localhost:{tls_server.port}", Transport(proxy=refusing, verify=False))
    assert (refused.status, "407" in (refused.error or "")) == ("connect", True)


def test_ipv6_base_path_and_key(server: type[Answering]) -> None:
    one = server(address=("::1", 0))
    assert ask(f"http://[::1]:{one.port}/models/a").status == "ok"
    head = one.requests[0].decode()
    assert head.startswith("POST /models/a/v1/chat/completions HTTP/1.1\r\n")
    assert f"Host: [::1]:{one.port}\r\n" in head
    assert "Authorization: Bearer k3y\r\n" in head


def test_silence_ends_at_the_idle_timeout_and_not_before(server: type[Answering]) -> None:
    silent = server(answer=CHUNKED[: CHUNKED.index(b" there")])
    outcome = ask(f"http://127.0.0.1:{silent.port}", idle_timeout_s=0.3)
    assert outcome.status == "timeout"
    assert outcome.error == "nothing received for 0.3 s"
    assert len(outcome.chunks) == 1
    assert ask(f"http://127.0.0.1:{server().port}", idle_timeout_s=0.3).status == "ok"


def test_a_response_without_end_cannot_take_the_memory(server: type[Answering], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "MAX_RESPONSE_BYTES", 100_000)
    endless = server(answer=HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[WHOLE[1]] * 2000)[:-5])
    assert ask(f"http://127.0.0.1:{endless.port}").status == "too_large"


def test_compressed_events_are_refused(server: type[Answering]) -> None:
    gzipped = CHUNKED.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type")
    outcome = ask(f"http://127.0.0.1:{server(answer=gzipped).port}")
    assert outcome.status == "malformed"
    assert "gzip" in (outcome.error or "")


@pytest.mark.slow
def test_ten_thousand_requests_to_a_faulty_server_leave_nothing_behind() -> None:
    """1 % cut, 1 % reset, 1 % 503, a few stalls: every request has an outcome, and no socket or greenlet stays."""
    rng = random.Random(1)
    served: collections.Counter[str] = collections.Counter()

    def serve(peer: Any, _: Any) -> None:
        while read_request(peer):
            kind = rng.choices(["ok", "cut", "reset", "503", "stall"], [96.5, 1, 1, 1, 0.5])[0]
            served[kind] += 1
            if kind == "ok":
                peer.sendall(CHUNKED)
            elif kind == "503":
                peer.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            else:
                peer.sendall(CHUNKED[:200] if kind != "reset" else b"")
                gevent.sleep(0.4 if kind == "stall" else 0)
                peer.close()
                return

    faulty = StreamServer(("127.0.0.1", 0), serve)
    faulty.start()
    target = Target.from_url(f"http://127.0.0.1:{faulty.server_port}")
    request = target.request_head("/v1/chat/completions", 2, None) + b"{}"
    statuses: collections.Counter[str] = collections.Counter()

    def user(_: int) -> None:
        connection = Connection(target)
        for _ in range(200):
            outcome = StreamOutcome()
            stream_request(connection, request, 0.2, outcome)
            statuses[outcome.status] += 1
            statuses["reconnected"] += outcome.response.reconnected
            assert outcome.status == "ok" or outcome.error
        connection.close()

    Pool(50).map(user, range(50))
    faulty.stop()
    gevent.sleep(0.5)
    gc.collect()
    again = statuses.pop("reconnected")
    assert 0 < again < 100  # of the resets, those on a kept connection: nothing had come on it
    assert sum(statuses.values()) == 10_000  # every request has its outcome
    assert sum(served.values()) == 10_000 + again  # and no other POST was sent twice
    late = statuses["timeout"] - served["stall"]  # answers that a busy machine brought after 0.2 s: none on a quiet one
    assert 0 <= late <= 1_000
    assert served["ok"] - late <= statuses["ok"] <= served["ok"]
    assert served["503"] - late <= statuses["http_error"] <= served["503"]
    broken = served["cut"] + served["reset"] - again
    assert broken - late <= statuses["cut"] + statuses["reset"] <= broken
    mine = [
        c for c in psutil.Process().net_connections() if c.laddr and target.port in (c.laddr.port, c.raddr.port if c.raddr else 0)
    ]
    assert [c.status for c in mine if c.status not in ("TIME_WAIT", "NONE")] == []
    assert not [g for g in gc.get_objects() if isinstance(g, gevent.Greenlet) and not g.dead and g.started and "user" in repr(g)]
