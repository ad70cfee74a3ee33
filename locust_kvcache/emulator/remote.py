"""Talks to other emulator processes: a small HTTP client, and a shared store behind it.

The store's process holds only which chunks there are; the time of a transfer is modelled where the KV goes to or comes from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from locust_kvcache.emulator.tiers import Tier, TierSpec
from locust_kvcache.emulator.wire import Connection, HttpRequest


async def ask(url: str, body: Any = None, headers: dict[str, str] | None = None, timeout_s: float = 600.0) -> tuple[int, bytes]:
    """(status, body) of one request on a connection of its own; OSError if nobody answers."""
    where = urlsplit(url)
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
        try:
            writer.write(request_bytes("GET" if body is None else "POST", where.path, body, headers))
            head, _, data = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
    if not head:
        raise ConnectionResetError(f"{url} closed the connection without an answer")
    if b"transfer-encoding: chunked" in head.lower():
        data = unchunked(data)
    return int(head.split(b" ", 2)[1]), data


def request_bytes(method: str, path: str, body: Any, headers: dict[str, str] | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    fields = {"host": "emulator", "connection": "close", "content-type": "application/json", "content-length": str(len(data))}
    lines = [f"{method} {path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fields, **(headers or {})}.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        body, data = body + data[:length], data[length + 2 :]
        if not length:
            break
    return body


class RemoteStore(Tier):
    """A tier whose chunks are in another process. What this process put there itself it remembers, so that it puts nothing twice."""

    def __init__(self, url: str, spec: TierSpec, kv_bytes_per_token: float, time_scale: float) -> None:
        super().__init__("store", spec, kv_bytes_per_token, time_scale)
        self.url = url.rstrip("/")
        self._tasks: set[asyncio.Task[Any]] = set()

    async def lookup_tokens(self, chunks: Sequence[bytes]) -> int:
        _, data = await ask(f"{self.url}/store/lookup", {"chunks": [chunk.hex() for chunk in chunks]})
        return int(json.loads(data)["found"]) * self.spec.chunk_tokens

    def put(self, chunks: Sequence[bytes]) -> None:
        super().put(chunks)
        self._tell("put", [chunk.hex() for chunk in chunks])

    def clear(self) -> None:
        super().clear()
        self._tell("clear", [])

    def _tell(self, what: str, chunks: list[str]) -> None:
        task = asyncio.get_running_loop().create_task(ask(f"{self.url}/store/{what}", {"chunks": chunks}))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def handle_store(store: Tier, request: HttpRequest, connection: Connection) -> bool:
    """The store's side of RemoteStore; False if the request is none of these."""
    what = request.path.removeprefix("/store/")
    if request.method != "POST" or what not in ("lookup", "put", "clear"):
        return False
    chunks = [bytes.fromhex(chunk) for chunk in json.loads(request.body)["chunks"]]
    answer: dict[str, Any] = {"success": True}
    if what == "lookup":
        answer = {"found": store.match(chunks)}
        store.counts["gets"] += bool(answer["found"])
        store.counts["get_chunks"] += answer["found"]
    elif what == "put":
        store.put(chunks)
        store.counts["puts"] += 1
        store.counts["put_chunks"] += len(chunks)
    else:
        store.clear()
    connection.answer_json(request, answer)
    return True
