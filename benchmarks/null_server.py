"""An OpenAI-compatible server that answers at once and keeps nothing: what is left to measure is the load generator.

python -m benchmarks.null_server PORT
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop


def _chunk(value: object) -> bytes:
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _plain(status: str, value: object) -> bytes:
    body = json.dumps(value).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


MODELS = _plain("200 OK", {"object": "list", "data": [{"id": "null"}]})
NOT_FOUND = _plain("404 Not Found", {"error": {"message": "no such page"}})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = _chunk({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]})
LAST = _chunk({"choices": [{"index": 0, "delta": {"content": " b"}, "finish_reason": "length"}]})
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Answerer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._transport.write(self._answer(head, length))

    def _answer(self, head: bytes, length: int) -> bytes:
        if head.startswith(b"get /v1/models"):
            return MODELS
        if not head.startswith(b"post /v1/"):
            return NOT_FOUND
        usage = {"prompt_tokens": length // 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}}
        return HEAD + FIRST + LAST + _chunk({"choices": [], "usage": usage}) + END


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
