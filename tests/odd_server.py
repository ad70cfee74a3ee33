"""The stub server with one oddity per model name: what a real server, or something before it, does to answers and counts.

python -m tests.odd_server PORT LOG
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

from tests.stub_server import Handler, Server

ODDITIES = (
    "honest cuts constant strings ends_early gives_up buffers muses short_context hides at_least_16 half_tokenizer "
    "constant_tokenizer counts_twice"
).split()
CONTEXT = 1024
TOKENIZERS = {"half_tokenizer": lambda count: count // 2, "constant_tokenizer": lambda count: 7}


def tokens_of(messages: list[dict[str, str]]) -> list[str]:
    found = []
    for message in messages:
        found += [message["role"], "<", ">", *re.findall(r"\w+|[^\w\s]", message["content"])]
    return found


class Odd(Handler):
    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": name} for name in ODDITIES]})
        else:
            self._json(404, {"error": {"message": "no such page"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = body["model"]
        messages = body.get("messages") or [{"role": "", "content": body["prompt"]}]
        if self.path == "/tokenize":
            if model not in TOKENIZERS:
                self._json(404, {"error": {"message": "no such page"}})
                return
            self._json(200, {"count": TOKENIZERS[model](len(tokens_of(messages)))})
            return
        if model == "short_context" and len(tokens_of(messages)) > CONTEXT:
            self._json(400, {"error": {"message": f"This model's maximum context length is {CONTEXT} tokens"}})
            return
        asked = body.get("max_tokens", body.get("max_completion_tokens", 16))
        if model == "at_least_16" and asked < 16:
            self._json(400, {"error": {"message": "max_tokens: integer below minimum value, expected a value >= 16"}})
            return
        self._answer(model, len(tokens_of(messages)), asked)

    def _answer(self, model: str, prompt: int, asked: int) -> None:
        came = min(asked, {"ends_early": 6, "gives_up": 3}.get(model, asked))
        events = [self._output(model, number, came, asked) for number in range(came)]
        if model == "hides":  # the first three tokens are counted, and no delta shows them
            events = events[3:] or [{"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}]
        events.append({"choices": [], "usage": self._usage(model, prompt, came)})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
        if model == "buffers":
            time.sleep(0.5)
            lines = [b"".join(lines)]
        for line in lines:
            self._chunk(line)
            time.sleep(0.002)
        self._chunk(b"")

    @staticmethod
    def _output(model: str, number: int, came: int, asked: int) -> dict[str, Any]:
        field = "musings" if model == "muses" and asked > 2 else "content"
        reason = "abort" if came < asked and model == "gives_up" else "stop" if came < asked else "length"
        return {
            "choices": [{"index": 0, "delta": {field: f" w{number}"}, "finish_reason": reason if number == came - 1 else None}]
        }

    @staticmethod
    def _usage(model: str, prompt: int, came: int) -> dict[str, Any]:
        counts = {"cuts": min(prompt, CONTEXT), "constant": 512, "counts_twice": 2 * prompt if prompt > 3000 else prompt}
        counted = counts.get(model, prompt)
        if model == "strings":
            return {"prompt_tokens": str(counted), "completion_tokens": str(came)}
        return {"prompt_tokens": counted, "completion_tokens": came}


if __name__ == "__main__":
    Handler.log_path = sys.argv[2]
    Server(("127.0.0.1", int(sys.argv[1])), Odd).serve_forever()
