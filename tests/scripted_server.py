"""A server inside the test's own process whose answers a test writes down: subclass Scripted, and change what is odd about it."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from locust_kvcache.contract.deployment import Deployment

WORD = re.compile(r"\w+|[^\w\s]")


def words_of(body: dict[str, Any]) -> list[str]:
    """The prompt's tokens: words, marks, and three for each message."""
    messages = body.get("messages") or [{"role": "user", "content": body.get("prompt", "")}]
    return [token for m in messages for token in (m["role"], "<", ">", *WORD.findall(m["content"]))]


class Scripted(BaseHTTPRequestHandler):
    """A well-behaved server that keeps prefixes in blocks of `block` tokens. `asked` holds the bodies that came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    block = 16
    models: ClassVar[Any] = {"object": "list", "data": [{"id": "m"}]}
    asked: list[dict[str, Any]]
    seen: set[int]

    def log_message(self, *_: object) -> None:
        pass

    def send_json(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content_Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def send_events(self, events: list[Any], end: bytes = b"data: [DONE]\n\n") -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self.send_chunk(event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n")
        if end:
            self.send_chunk(end)
        self.end_body()

    def end_body(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.list_models()
        else:
            self.send_json({"error": "no such page"}, 404)

    def list_models(self) -> None:
        self.send_json(self.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.tokenize(body)
            return
        self.asked.append(body)
        if (refusal := self.refuse(body)) is not None:
            status, value, headers = refusal
            self.send_json(value, status, **headers)
        else:
            self.answer(body)

    def tokenize(self, body: dict[str, Any]) -> None:
        self.send_json({"error": "no such page"}, 404)

    def refuse(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]] | None:
        """(status, answer, headers) of a refusal."""
        return None

    def output_tokens(self, body: dict[str, Any]) -> int:
        return int(body.get("max_tokens", body.get("max_completion_tokens", 16)))

    def cached_tokens(self, tokens: list[str]) -> int:
        keys = [hash(tuple(tokens[:end])) for end in range(self.block, len(tokens), self.block)]
        held = next((number for number, key in enumerate(keys) if key not in self.seen), len(keys))
        self.seen.update(keys)
        return held * self.block

    def usage(self, prompt: int, output: int, cached: int) -> Any:
        return {"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": {"cached_tokens": cached}}

    def delta(self, number: int, count: int) -> dict[str, Any]:
        finish = "length" if number == count - 1 else None
        return {"choices": [{"index": 0, "delta": {"content": f" w{number}"}, "finish_reason": finish}]}

    def answer(self, body: dict[str, Any]) -> None:
        tokens, count = words_of(body), self.output_tokens(body)
        usage = self.usage(len(tokens), count, self.cached_tokens(tokens))
        events: list[Any] = [self.delta(number, count) for number in range(count)]
        self.send_events([*events, {"choices": [], "usage": usage}])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that has gone is none of the test's business."""


@contextlib.contextmanager
def served(kind: type[Scripted]) -> Iterator[tuple[Deployment, list[dict[str, Any]]]]:
    """(a deployment at a server of that kind, the bodies that it was sent)."""
    asked: list[dict[str, Any]] = []
    server = Server(("127.0.0.1", 0), type(kind.__name__, (kind,), {"asked": asked, "seen": set()}))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Deployment(name="scripted", kind="other", endpoint=f"http://127.0.0.1:{server.server_port}"), asked
    finally:
        server.shutdown()
        server.server_close()
