"""Serves streams whose tokens say when they were sent, to measure the client's timing error.

Each chunk's content is the server's monotonic clock in ns just before the write. On one host client and server share that clock,
so a client's stamp minus the content is the error of that stamp. One loop, uvloop, nothing else on the path.

    python -m locust_kvcache.certificate.truth_server PORT [--ttft-ms 200] [--tokens 100] [--tokens-per-s 50]
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import re
import time
from dataclasses import dataclass
from typing import Any

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEFORE = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1,"model":"truth",'
    b'"choices":[{"index":0,"delta":{"content":"'
)
AFTER = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
LAST = AFTER.replace(b"null}]", b'"length"}]')
STAMP_BYTES = 20
ASKED = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"truth","object":"model"}]}'  # also what /health says


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _end(tokens: int, prompt_tokens: int) -> bytes:
    counts = f'"prompt_tokens":{prompt_tokens},"completion_tokens":{tokens},"total_tokens":{tokens + prompt_tokens}'
    usage = f'data: {{"choices":[],"usage":{{{counts},"prompt_tokens_details":{{"cached_tokens":0}}}}}}\n\n'.encode()
    return _chunk(usage) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


@dataclass(eq=False)
class Answer:
    """One stream under way."""

    transport: asyncio.Transport
    tokens: int
    prompt_tokens: int
    sent: int = 0


class Schedule:
    """All due tokens of all streams in one heap, so that one timer serves them; `late_ms` is the server's own error."""

    def __init__(self, ttft_s: float, tokens: int, gap_s: float) -> None:
        self.ttft_s, self.tokens, self.gap_s = ttft_s, tokens, gap_s
        self._heap: list[tuple[float, int, Answer]] = []
        self._count = 0
        self.late_ms: list[float] = []
        self._parts = [
            (f"{len(BEFORE) + STAMP_BYTES + len(after):x}\r\n".encode() + BEFORE, after + b"\r\n") for after in (AFTER, LAST)
        ]

    def add(self, transport: asyncio.Transport, body: bytes) -> None:
        """An answer of as many tokens as are asked for, and no more than this server gives; four bytes count as a prompt token."""
        asked = ASKED.search(body)
        tokens = min(self.tokens, int(asked[1])) if asked else self.tokens
        self._count += 1
        answer = Answer(transport, max(1, tokens), max(1, len(body) // 4))
        heapq.heappush(self._heap, (time.monotonic() + self.ttft_s, self._count, answer))

    def send_due(self) -> None:
        heap, clock = self._heap, time.monotonic_ns
        while heap and heap[0][0] <= time.monotonic():
            due_s, stream, answer = heap[0]
            transport, last = answer.transport, answer.sent == answer.tokens - 1
            before, after = self._parts[last]
            if not transport.is_closing():
                now_ns = clock()
                transport.write(before + b"%020d" % now_ns + after)
                self.late_ms.append(now_ns / 1e6 - due_s * 1e3)
            if last or transport.is_closing():
                if not transport.is_closing():
                    transport.write(_end(answer.tokens, answer.prompt_tokens))
                heapq.heappop(heap)
            else:
                answer.sent += 1
                heapq.heapreplace(heap, (due_s + self.gap_s, stream, answer))

    async def run(self) -> None:
        while True:
            self.send_due()
            due_s = self._heap[0][0] - time.monotonic() if self._heap else 0.001
            await asyncio.sleep(min(max(due_s, 0.0), 0.001))


class Protocol(asyncio.Protocol):
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if len(body) < (lengths[0] if lengths else 0):
            return
        self._data = b""
        if head.startswith((b"GET /v1/models", b"GET /health")):
            self._answer(MODELS)
        elif head.startswith(b"GET / "):
            late = sorted(self._schedule.late_ms) or [0.0]
            text = f"{late[len(late) // 2]:.4f} {late[int(len(late) * 0.99)]:.4f} {len(late)}".encode()
            self._schedule.late_ms.clear()
            self._answer(text)
        elif head.startswith((b"POST /v1/chat/completions", b"POST /v1/completions")):
            self._transport.write(HEAD)
            self._schedule.add(self._transport, body)
        else:
            self._transport.write(NOT_FOUND)

    def _answer(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )


async def serve(port: int, schedule: Schedule) -> None:
    """`reuse_port`: several servers of one port share its connections."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(schedule), "127.0.0.1", port, backlog=4096, reuse_port=True)
    async with server:
        await schedule.run()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m locust_kvcache.certificate.truth_server", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--ttft-ms", type=float, default=200.0)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--tokens-per-s", type=float, default=50.0)
    options = parser.parse_args()
    uvloop.run(serve(options.port, Schedule(options.ttft_ms / 1000, options.tokens, 1 / options.tokens_per_s)))


if __name__ == "__main__":
    main()
