"""Writes the JSON of an answer's events and of its whole body, right or wrong as asked: chat, completions and token ids."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from locust_kvcache.emulator.bodies import CHAT, COMPLETIONS, GENERATE, MESSAGES, RESPONSES
from locust_kvcache.emulator.deployment import ANSWER_IDS, Job
from locust_kvcache.emulator.truth import Passage
from locust_kvcache.emulator.work import ANSWER

WORDS = [f" {word}" for word in ANSWER.split()]
TEXT, REASONING, TOOL = "text", "reasoning", "tool"  # kinds of output
_NOTHING: dict[str, Any] = {}
_ID_PREFIX = {CHAT: "chatcmpl-", COMPLETIONS: "cmpl-", RESPONSES: "resp_", MESSAGES: "chatcmpl-", GENERATE: "generate-tokens-"}


@dataclass(frozen=True)
class Shape:
    """What the request asked for."""

    model: str
    api: str
    stream: bool
    include_usage: bool
    continuous_usage: bool
    stream_interval: int
    truth: bool
    token_ids: bool = False


class Wording:
    """A fixed text of whole words, one token each. The typed APIs word it in classes of their own."""

    opens_early = False  # what comes before the first output is sent before the prefill

    def __init__(self, shape: Shape, passage: Passage, job: Job) -> None:
        self.shape, self.passage, self.job, self.faults = shape, passage, job, passage.faults
        self.eol = b"\r\n" if "crlf" in self.faults else b"\n"
        name = "not-the-model-you-asked-for" if "wrong_model" in self.faults else shape.model
        self.base = self._base(passage.request_id, name)
        self._before_content, self._after_content = self._template()
        self._ready: dict[int, bytes] = {}

    def _base(self, name: str, model: str) -> dict[str, Any]:
        api, made_s = self.shape.api, int(time.time())
        if api == GENERATE:
            return {"request_id": name, "output_mode": "tokens"}
        if api == RESPONSES:
            return {"id": name, "created_at": made_s, "model": model}
        if api == MESSAGES:
            return {"id": name, "model": model}
        kind = "text_completion"
        if api == CHAT:
            kind = "chat.completion.chunk" if self.shape.stream else "chat.completion"
        return {"id": name, "object": kind, "created": made_s, "model": model}

    def _template(self) -> tuple[bytes, bytes]:
        mark = "\x00"
        content = {"delta": {"content": mark}} if self.shape.api == CHAT else {"text": mark}
        event = {**self.base, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": None}]}
        before, after = json.dumps(event, separators=(",", ":")).encode().split(b"\\u0000")
        return b"data: " + before, after + b"\n\n"

    def counted(self) -> tuple[int, int]:
        """(prompt tokens, cached ones), as they are reported."""
        prompt = len(self.job.prompt_ids)
        cached = prompt - 1 if "decoder_reports_all_cached" in self.faults else self.job.cached_tokens
        self.passage.reported_cached_tokens = cached
        return prompt, cached

    def usage(self, completion_tokens: int) -> dict[str, Any]:
        prompt, cached = self.counted()
        details = _NOTHING if "usage_without_details" in self.faults else {"prompt_tokens_details": {"cached_tokens": cached}}
        counts = {"prompt_tokens": prompt, "completion_tokens": completion_tokens, "total_tokens": prompt + completion_tokens}
        return {**counts, **details}

    def event(
        self, tokens: int, content: dict[str, Any] | None, finish: str | None = None, usage: bool = False, **more: Any
    ) -> bytes:
        choices = [] if content is None else [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]
        event: dict[str, Any] = {**self.base, "choices": choices}
        if (usage or self.shape.continuous_usage) and "no_usage" not in self.faults:
            event["usage"] = self.usage(tokens)
        return self.line(json.dumps({**event, **more}, separators=(",", ":")).encode())

    def line(self, data: bytes) -> bytes:
        return b"data: " + data + self.eol + self.eol

    def kind(self, number: int) -> str:
        """What the token of this number is: the first ones may be reasoning or a tool call."""
        if number < max(self.faults.get(name) or 0 for name in ("reasoning", "reasoning_content")):
            return REASONING
        return TOOL if number < (self.faults.get("tool_call") or 0) else TEXT

    def _content(self, numbers: list[int]) -> dict[str, Any]:
        number, text = numbers[0], self.text(numbers)
        if self.shape.api == GENERATE:
            return {"token_ids": [ANSWER_IDS[number % len(ANSWER_IDS)] for number in numbers]}
        if self.shape.api == COMPLETIONS:
            return {"text": text}
        first = {"role": "assistant"} if number == 0 and "no_role_chunk" in self.faults else _NOTHING
        kind = self.kind(number)
        if kind == TOOL:
            named = {"name": "run"} if number == 0 else _NOTHING
            return {"delta": {**first, "tool_calls": [{"index": 0, "function": {**named, "arguments": text}}]}}
        reasoning = "reasoning" if number < (self.faults.get("reasoning") or 0) else "reasoning_content"
        return {"delta": {**first, ("content" if kind == TEXT else reasoning): text}}

    # -- what a stream says, in order

    def opening(self) -> bytes:
        """What comes before the first output."""
        if self.shape.api != CHAT:
            return b""
        return self.event(0, {"delta": {"role": "assistant", "content": None if "null_content" in self.faults else ""}})

    def chunk(self, numbers: list[int], last: bool) -> bytes:
        """The tokens of these numbers as one event."""
        finish = "length" if last and "no_finish_reason" not in self.faults else None
        with_usage = last and self.shape.include_usage and "usage_on_finish_chunk" in self.faults
        return self.event(numbers[-1] + 1, self._content(numbers), finish, with_usage)

    def chunked_word(self, number: int) -> bytes:
        """A plain event of one word, with its chunked framing: made once per word."""
        word = number % len(WORDS)
        if word not in self._ready:
            plain = self.shape.api != GENERATE
            line = self._before_content + WORDS[word].encode() + self._after_content if plain else self.chunk([word], False)
            self._ready[word] = b"%x\r\n" % len(line) + line + b"\r\n"
        return self._ready[word]

    def closing(self, tokens: int, wants_usage: bool) -> bytes:
        """The usage chunk, the truth if it was asked for, [DONE]."""
        tail = b""
        if wants_usage or self.shape.truth:
            if wants_usage:
                self.usage(tokens)
            truth = {"truth": self.truth()} if self.shape.truth else {}
            tail += self.event(tokens, None, None, wants_usage, **truth)
        return tail + (self.line(b"[DONE]") if "no_done" not in self.faults else b"")

    def text(self, numbers: list[int]) -> str:
        return "".join(WORDS[number % len(WORDS)] for number in numbers)

    def error(self) -> bytes:
        error = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}
        return self.line(json.dumps({"error": error}).encode()) + self.line(b"[DONE]")

    def truth(self) -> dict[str, Any]:
        return {**self.passage.as_dict(), "outcome": "complete"} if self.shape.truth else _NOTHING

    # -- not streamed

    def whole(self) -> bytes:
        """Everything at once."""
        body = self.whole_body()
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

    def whole_body(self) -> dict[str, Any]:
        numbers = list(range(self.job.output_tokens))
        text, ids = self.text(numbers), [ANSWER_IDS[number % len(ANSWER_IDS)] for number in numbers]
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text}} if self.shape.api == CHAT else {"text": text}
        )
        if self.shape.api == GENERATE:
            content = {"token_ids": ids}
        elif self.shape.token_ids:
            content["token_ids"] = ids
        finish = None if "no_finish_reason" in self.faults else "length"
        body: dict[str, Any] = {**self.base, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": finish}]}
        if "no_usage" not in self.faults:
            body["usage"] = self.usage(self.job.output_tokens)
        return body


def request_id(api: str, wanted: str | None) -> str:
    return f"{_ID_PREFIX[api]}{wanted or secrets.token_hex(16)}"
