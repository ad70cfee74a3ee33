"""Writes the JSON of an answer's events and of its whole body, right or wrong as asked."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from locust_kvcache.emulator.deployment import ANSWER_IDS, Job
from locust_kvcache.emulator.truth import Passage
from locust_kvcache.emulator.work import ANSWER

WORDS = [f" {word}" for word in ANSWER.split()]
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True)
class Shape:
    """What the request asked for."""

    model: str
    chat: bool
    stream: bool
    include_usage: bool
    continuous_usage: bool
    stream_interval: int
    truth: bool
    token_ids: bool = False


class Wording:
    """A fixed text of whole words, one token each."""

    def __init__(self, shape: Shape, passage: Passage, job: Job) -> None:
        self.shape, self.passage, self.job, self.faults = shape, passage, job, passage.faults
        self._eol = b"\r\n" if "crlf" in self.faults else b"\n"
        name = "not-the-model-you-asked-for" if "wrong_model" in self.faults else shape.model
        kind = ("chat.completion.chunk" if shape.stream else "chat.completion") if shape.chat else "text_completion"
        self._base = {"id": passage.request_id, "object": kind, "created": int(time.time()), "model": name}
        self._before_content, self._after_content = self._template()
        self._ready: dict[int, bytes] = {}

    def _template(self) -> tuple[bytes, bytes]:
        mark = "\x00"
        content = {"delta": {"content": mark}} if self.shape.chat else {"text": mark}
        event = {**self._base, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": None}]}
        before, after = json.dumps(event, separators=(",", ":")).encode().split(b"\\u0000")
        return b"data: " + before, after + b"\n\n"

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt = len(self.job.prompt_ids)
        cached = prompt - 1 if "decoder_reports_all_cached" in self.faults else self.job.cached_tokens
        self.passage.reported_cached_tokens = cached
        details = _NOTHING if "usage_without_details" in self.faults else {"prompt_tokens_details": {"cached_tokens": cached}}
        counts = {"prompt_tokens": prompt, "completion_tokens": completion_tokens, "total_tokens": prompt + completion_tokens}
        return {**counts, **details}

    def event(
        self, tokens: int, content: dict[str, Any] | None, finish: str | None = None, usage: bool = False, **more: Any
    ) -> bytes:
        choices = [] if content is None else [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]
        event: dict[str, Any] = {**self._base, "choices": choices}
        if (usage or self.shape.continuous_usage) and "no_usage" not in self.faults:
            event["usage"] = self.usage(tokens)
        return self.line(json.dumps({**event, **more}, separators=(",", ":")).encode())

    def line(self, data: bytes) -> bytes:
        return b"data: " + data + self._eol + self._eol

    def content(self, text: str, number: int) -> dict[str, Any]:
        if not self.shape.chat:
            return {"text": text}
        field = "content"
        for name in ("reasoning", "reasoning_content"):
            if number < (self.faults.get(name) or 0):
                field = name
        first = {"role": "assistant"} if number == 0 and "no_role_chunk" in self.faults else _NOTHING
        return {"delta": {**first, field: text}}

    def role(self) -> bytes:
        return self.event(0, {"delta": {"role": "assistant", "content": None if "null_content" in self.faults else ""}})

    def chunked_word(self, number: int) -> bytes:
        """A plain event of one word, with its chunked framing: made once per word."""
        word = number % len(WORDS)
        if word not in self._ready:
            line = self._before_content + WORDS[word].encode() + self._after_content
            self._ready[word] = b"%x\r\n" % len(line) + line + b"\r\n"
        return self._ready[word]

    def text(self, numbers: list[int]) -> str:
        return "".join(WORDS[number % len(WORDS)] for number in numbers)

    def error(self) -> bytes:
        error = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}
        return self.line(json.dumps({"error": error}).encode()) + self.line(b"[DONE]")

    def truth(self) -> dict[str, Any]:
        return {**self.passage.as_dict(), "outcome": "complete"} if self.shape.truth else _NOTHING

    def whole(self) -> bytes:
        """Not streamed: everything at once."""
        text = self.text(list(range(self.job.output_tokens)))
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self.shape.chat else {"text": text}
        finish = None if "no_finish_reason" in self.faults else "length"
        if self.shape.token_ids:
            content["token_ids"] = [ANSWER_IDS[number % len(ANSWER_IDS)] for number in range(self.job.output_tokens)]
        body: dict[str, Any] = {**self._base, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]}
        if "no_usage" not in self.faults:
            body["usage"] = self.usage(self.job.output_tokens)
        if (work := self.job.works.get("prefiller")) is not None and len(self.job.works) == 1:
            body["kv_transfer_params"] = {
                "do_remote_prefill": True,
                "remote_num_tokens": work.prompt_tokens,
                "remote_prefill_cached_tokens": work.cached_tokens,
                "puts_done_ns": int(work.puts_done_s * 1e9),
            }
        if self.shape.truth:
            body["truth"] = self.truth()
        data = json.dumps(body).encode()
        return data[:-1] if "malformed_json" in self.faults else data


def request_id(chat: bool, wanted: str | None) -> str:
    return f"{'chatcmpl' if chat else 'cmpl'}-{wanted or secrets.token_hex(16)}"
