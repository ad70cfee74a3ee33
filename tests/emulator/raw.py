"""A client that sees bytes: what a server sent, in which pieces, and how the connection ended."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Raw:
    """`end`: complete (by its own framing), closed (cut short or by the connection's end), reset, timeout."""

    head: str = ""
    data: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    end: str = ""
    headers_s: float = 0.0

    @property
    def status(self) -> int:
        return int(self.head.split(" ", 2)[1])

    @property
    def body(self) -> bytes:
        """Without the chunked encoding."""
        if "transfer-encoding: chunked" not in self.head:
            return self.data
        body, rest = b"", self.data
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body

    @property
    def events(self) -> list[Any]:
        lines = self.body.replace(b"\r\n", b"\n").split(b"\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]

    @property
    def tokens(self) -> str:
        choices = [event["choices"][0] for event in self.events if event.get("choices")]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


def ask_raw(url: str, timeout_s: float = 5.0, path: str = "/v1/chat/completions", headers: str = "", **body: Any) -> Raw:
    """One streamed request on a connection of its own."""
    sent = {"model": "tiny", "max_tokens": 6, "stream": True, "stream_options": {"include_usage": True}, **body}
    sent.setdefault("messages", [{"role": "user", "content": "some words to answer"}])
    data = json.dumps(sent).encode()
    where, raw = urlsplit(url), Raw()
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=timeout_s) as connection:
        started_s = time.monotonic()
        request = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {len(data)}\r\n\r\n"
        )
        connection.sendall(request.encode() + data)
        buffer = b""
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                raw.end = "reset"
                break
            except TimeoutError:
                raw.end = "timeout"
                break
            raw.pieces.append(piece)
            raw.at_s.append(time.monotonic() - started_s)
            buffer += piece
            if not raw.head and b"\r\n\r\n" in buffer:
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                raw.head, raw.headers_s = head.decode().lower(), raw.at_s[-1]
            if not piece:
                raw.end = "closed"
                break
            if buffer.endswith(b"0\r\n\r\n") and "chunked" in raw.head:
                raw.end = "complete"
                break
            if f"content-length: {len(buffer)}\r" in raw.head + "\r":
                raw.end = "complete"
                break
        raw.data = buffer
    return raw
