"""Emulates a PD proxy: sends each request to a prefiller, then to a decoder, and passes the bytes on.

The order is that of the proxies in use (deployment.py PROXIES). With `bare`, it also lacks what the real examples lack: only
/healthcheck answers, client headers are dropped, and SSE goes out as application/json.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from locust_kvcache.emulator.remote import ask, request_bytes
from locust_kvcache.emulator.wire import Connection, HttpRequest

KEPT_HEADERS = ("authorization", "x-request-id", "x-fault", "x-truth")
NEWS_S = 0.005  # from the store's process: a put that landed is known there a little later
COMPLETIONS = ("/v1/chat/completions", "/v1/completions")


@dataclass
class Proxy:
    prefillers: list[str]
    decoders: list[str]
    order: str
    bare: bool
    name: str
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._pairs = zip(itertools.cycle(self.prefillers), itertools.cycle(self.decoders), strict=False)

    def handle(self, request: HttpRequest, connection: Connection) -> None:
        path = request.path
        if request.method == "POST" and path in COMPLETIONS:
            task = asyncio.get_running_loop().create_task(self._forward(request, connection))
            connection.on_lost = task.cancel  # type: ignore[assignment]
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif path == "/healthcheck" or (path == "/health" and not self.bare):
            connection.answer(request, 200, b"{}")
        elif path == "/version" and not self.bare:
            connection.answer_json(request, {"version": self.name})
        elif path == "/v1/models" and not self.bare:
            task = asyncio.get_running_loop().create_task(self._models(request, connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            connection.answer_json(request, {"detail": "Not Found"}, 404)

    async def _models(self, request: HttpRequest, connection: Connection) -> None:
        try:
            status, data = await ask(f"{self.decoders[0]}/v1/models", headers=self._headers(request))
            connection.answer(request, status, data)
        except (OSError, TimeoutError) as error:
            connection.answer_json(request, {"error": {"message": f"decoder: {error}", "code": 502}}, 502)

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        return {} if self.bare else {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers}

    async def _forward(self, request: HttpRequest, connection: Connection) -> None:
        prefiller, decoder = next(self._pairs)
        try:
            body = json.loads(request.body)
            transfer = await self._prefill(prefiller, request, body)
            if self.order == "wait_store":
                wait_s = transfer.get("puts_done_ns", 0) / 1e9 - time.monotonic()
                await asyncio.sleep(max(0.0, wait_s) + NEWS_S)
            await self._decode(decoder, request, connection, {**body, "kv_transfer_params": transfer})
        except _Failed as error:
            connection.answer(request, error.status, error.body)
        except (OSError, ValueError, TimeoutError) as error:
            connection.answer_json(request, {"error": {"message": f"proxy: {error}", "code": 502}}, 502)

    async def _prefill(self, url: str, request: HttpRequest, body: dict[str, Any]) -> dict[str, Any]:
        """One token, not streamed; what the prefiller says about the hand-off."""
        short = {**body, "max_tokens": 1, "stream": False, "kv_transfer_params": {"do_remote_decode": True}}
        for key in ("stream_options", "max_completion_tokens", "min_tokens"):
            short.pop(key, None)
        headers = {name: value for name, value in self._headers(request).items() if name in ("authorization", "x-request-id")}
        status, data = await ask(url + request.path, short, headers)
        if status != 200:
            raise _Failed(status, data)
        return json.loads(data).get("kv_transfer_params") or {}

    async def _decode(self, url: str, request: HttpRequest, connection: Connection, body: dict[str, Any]) -> None:
        """The decoder's bytes, framing and all, so that its faults reach the client; then the connection closes."""
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
        try:
            writer.write(request_bytes("POST", request.path, body, self._headers(request)))
            head = await reader.readuntil(b"\r\n\r\n")
            if self.bare:
                head = head.replace(b"text/event-stream; charset=utf-8", b"application/json")
            connection.write(head)
            while data := await reader.read(65536):
                connection.write(data)
        finally:
            writer.close()
            connection.on_lost = None
            with contextlib.suppress(OSError):
                connection.close()


class _Failed(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body
