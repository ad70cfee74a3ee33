"""Pages of a server in bounded time and size, over the deployment's own transport."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import requests
from gevent.server import StreamServer

from locust_kvcache.contract.deployment import Access, Transport
from locust_kvcache.loadgen.server.metrics_pages import label_value, scrape
from locust_kvcache.loadgen.server.pages import PageRefused, ask_page

ODD = (
    rb'x_total{b="\n",a="q\"},\\"} 5 1715299200000'
    + b'\n# TYPE y counter\ny_total 7 # {trace_id="a b"} 1.0 1715299200.1\ny_created 1\n'
    b"hits_total NaN\nsize +Inf\n# EOF\n"
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.fixture
def server() -> Iterator[str]:
    def serve(peer: Any, _: Any) -> None:
        request = peer.recv(65536)
        path = request.split(b" ")[1]
        try:
            if path == b"/endless":
                peer.sendall(HEAD + b"\r\n")
                while True:
                    peer.sendall(b"x 1\n" * 65536)
            elif path == b"/slow":
                for byte in HEAD + b"\r\n" + b"x" * 1000:
                    peer.sendall(bytes([byte]))
                    gevent.sleep(0.05)
            elif path == b"/cut-label":
                peer.sendall(HEAD + b"Connection: close\r\n\r\n" + b'up 1\nx{a="b", ="c"} 1\n')
            elif path == b"/odd":
                peer.sendall(HEAD + b"Connection: close\r\n\r\n" + ODD)
            elif path == b"/no-name":
                peer.sendall(HEAD + b"Connection: close\r\n\r\n{}\n")
            elif path == b"/echo":
                peer.sendall(HEAD + b"Connection: close\r\n\r\n" + request)
            else:
                peer.sendall(HEAD + b"Content-Length: 4\r\n\r\nx 1\n")
        except OSError:
            pass

    found = StreamServer(("127.0.0.1", 0), serve)
    found.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.stop()


def test_a_page_is_read_whole(server: str) -> None:
    assert ask_page(Access(), "GET", f"{server}/metrics").text == "x 1\n"


def test_a_page_that_quotes_the_key_is_read_without_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-quoted")
    monkeypatch.setenv("TENANT_TOKEN", "tenant-1")
    headers = (("x-tenant-token", "${TENANT_TOKEN}"),)
    page = ask_page(Access(api_key_env="MY_KEY", transport=Transport(headers=headers)), "GET", f"{server}/echo").text
    assert "Authorization: ***" in page
    assert "x-tenant-token: ***" in page


def test_a_page_that_never_ends_is_refused_by_its_size(server: str) -> None:
    with pytest.raises(PageRefused, match="more than 16 MB"):
        ask_page(Access(), "GET", f"{server}/endless")


def test_a_page_that_comes_byte_by_byte_is_refused_by_its_time(server: str) -> None:
    """Each byte is in time for a limit per read: the limit is on the whole page, its head included."""
    begun_s = time.monotonic()
    with pytest.raises(PageRefused, match=r"not complete within 0\.3 s"):
        ask_page(Access(), "GET", f"{server}/slow", 0.3)
    assert time.monotonic() - begun_s < 30  # not the 50 s that the page takes


def test_a_metrics_page_that_cannot_be_read_says_why(server: str) -> None:
    (row,) = scrape([("server", f"{server}/endless")], Access())
    assert not row["ok"]
    assert "more than 16 MB" in row["error"]


@pytest.mark.parametrize(("path", "said"), [("cut-label", "string index out of range"), ("no-name", "a line cannot be read")])
def test_a_metrics_page_with_a_broken_line_is_none(server: str, path: str, said: str) -> None:
    (row,) = scrape([("server", f"{server}/{path}")], Access())
    assert not row["ok"]
    assert row["error"] == f"not a metrics page: {said}"


def test_samples_are_written_as_on_the_page_and_what_is_no_number_by_name(server: str) -> None:
    (row,) = scrape([("server", f"{server}/odd")], Access())
    assert row["ok"]
    assert row["samples"] == {r'x_total{a="q\"},\\",b="\n"}': 5.0, "y_total": 7.0}
    assert row["no_numbers"] == ["hits_total", "size"]
    assert label_value(row["samples"], "x_total", "a") == r"q\"},\\"


def test_a_label_is_found_by_its_whole_name() -> None:
    assert label_value({'c{big_size="64",size="16"}': 1.0}, "c", "size") == "16"
    assert label_value({'c{big_size="64"}': 1.0}, "c", "size") is None


def test_pages_take_the_deployments_proxy_and_no_other(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask_page(Access(), "GET", f"{server}/metrics").ok  # the load does not use the environment's either
    with pytest.raises(requests.ConnectionError):
        ask_page(Access(Transport(proxy="http://127.0.0.1:9")), "GET", f"{server}/metrics")
