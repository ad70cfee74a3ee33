"""Speaks HTTP/1.1 over a TCP connection, low enough to misbehave on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httptools

JSON = "application/json"


@dataclass(slots=True)
class HttpRequest:
    method: str
    target: str
    arrived_ns: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True
    answer_headers: dict[str, str] = field(default_factory=dict)  # sent with the answer

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}


def head(status: int, headers: dict[str, str], keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    if not keep_alive:
        lines.append("connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Connection(asyncio.Protocol):
    """One client. Requests on it are handled one after another, also when they are pipelined."""

    def __init__(self, handle: Callable[[HttpRequest, Connection], None]) -> None:
        self._handle = handle
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[HttpRequest] = deque()
        self._busy = False
        self._request: HttpRequest | None = None
        self.closed = False
        self.on_lost: Callable[[], None] | None = None
        self.on_done: Callable[[int | None], None] | None = None  # (status), None if the connection ended before the answer did

    # -- asyncio

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.on_lost:
            self.on_lost()
        self._tell_done(None)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()
        except httptools.HttpParserError as error:
            self._transport.write(head(400, {"content-type": "text/plain"}, False) + f"{error}\n".encode())
            self.close()

    # -- httptools

    def on_url(self, url: bytes) -> None:
        self._request = HttpRequest("", url.decode("latin-1"), 0)
        self._body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._request
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._request
        self._request.method = self._parser.get_method().decode()
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        request = self._request
        assert request
        request.body, request.keep_alive, request.arrived_ns = (
            b"".join(self._body),
            self._parser.should_keep_alive(),
            time.monotonic_ns(),
        )
        self._waiting.append(request)
        self._next()

    # -- out

    def _next(self) -> None:
        if self._waiting and not self._busy and not self.closed:
            self._busy = True
            self._handle(self._waiting.popleft(), self)

    def write(self, data: bytes) -> None:
        """Into the kernel now, not at the end of the loop's turn, so that a stamp taken before it is the moment of sending."""
        if self.closed:
            return
        if not self._transport.get_write_buffer_size():
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                written = 0
            except OSError:
                self.close()
                return
            if written == len(data):
                return
            data = data[written:]
        self._transport.write(data)

    def _tell_done(self, status: int | None) -> None:
        tell, self.on_done = self.on_done, None
        if tell:
            tell(status)

    def finish(self, keep_alive: bool = True, status: int = 200) -> None:
        """The answer is complete."""
        self.on_lost = None
        self._tell_done(status)
        self._busy = False
        if keep_alive:
            self._next()
        else:
            self.close()

    def answer(self, request: HttpRequest, status: int, body: bytes, media_type: str = JSON, **headers: str) -> None:
        if request.method == "HEAD":
            body = b""
        fields = {"content-type": media_type, "content-length": str(len(body)), **request.answer_headers, **headers}
        self.write(head(status, fields, request.keep_alive) + body)
        self.finish(request.keep_alive, status)

    def answer_json(self, request: HttpRequest, value: Any, status: int = 200, **headers: str) -> None:
        self.answer(request, status, json.dumps(value).encode(), **headers)

    def close(self) -> None:
        self.closed = True
        self._transport.close()

    def reset(self) -> None:
        """Close with RST: what was sent and not read yet is lost too."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._fd)) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True
        self._transport.abort()
