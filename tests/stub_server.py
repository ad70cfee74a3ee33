"""A small OpenAI-compatible server for tests, not ours on purpose: stdlib threads, its own token count, a log of every request it got.

    python tests/stub_server.py PORT LOG [ttft_s] [token_gap_s] [address]

STUB_SAYS_NOTHING_CACHED=1: its answers report no cached token, however fast they come.
LOG gets one JSON line per POST: path, nonce words of the first message, measured (its max_tokens is not a probe's) and the body.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "stub"
BLOCK = 16


class Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # as servers of streams do: small chunks would wait 40 ms for an acknowledgement
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    seen: dict[tuple[int, str], int] = {}  # noqa: RUF012  (a block after a prefix, which has a number: the number of both)
    log_path = ""
    ttft_s = 0.02
    gap_s = 0.002

    def log_message(self, *_: object) -> None:
        pass

    def _json(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": MODEL}]})
        else:
            self._json(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self._json(404, {"error": {"message": "no such page"}})
            return
        with self.lock, open(self.log_path, "a") as log:
            entry = {"at": time.time(), "path": self.path, "authorization": self.headers.get("Authorization"), "body": body}
            log.write(json.dumps(entry) + "\n")
        if body.get("model") != MODEL:
            self._json(404, {"error": {"message": f"The model {body.get('model')} does not exist"}})
            return
        self._stream(body)

    def _stream(self, body: dict) -> None:
        messages = body.get("messages") or [{"role": "user", "content": body["prompt"]}]
        tokens = []
        for message in messages:
            tokens += [message["role"], "<", ">", *re.findall(r"\w+|[^\w\s]", message["content"])]
        cached = prefix = 0
        with self.lock:
            for end in range(BLOCK, len(tokens), BLOCK):
                block = (prefix, " ".join(tokens[end - BLOCK : end]))
                known = block in self.seen
                prefix = self.seen.setdefault(block, len(self.seen) + 1)
                cached += BLOCK * known
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        time.sleep(self.ttft_s * (1 - cached / len(tokens)))
        count = body.get("max_tokens", 16)
        for number in range(count):
            if number:
                time.sleep(self.gap_s)
            finish = "length" if number == count - 1 else None
            self._event({"choices": [{"index": 0, "delta": {"content": f" w{number}"}, "finish_reason": finish}]})
        told = 0 if os.environ.get("STUB_SAYS_NOTHING_CACHED") else cached
        usage = {"prompt_tokens": len(tokens), "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": told}}
        self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, value: object) -> None:
        self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    port, Handler.log_path = int(sys.argv[1]), sys.argv[2]
    Handler.ttft_s = float(sys.argv[3]) if len(sys.argv) > 3 else Handler.ttft_s
    Handler.gap_s = float(sys.argv[4]) if len(sys.argv) > 4 else Handler.gap_s
    address = sys.argv[5] if len(sys.argv) > 5 else "127.0.0.1"
    Server((address, port), Handler).serve_forever()
