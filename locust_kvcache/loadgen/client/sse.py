"""Pieces of a server-sent event stream come in, what it said goes out: chunks with output, their stamps, usage, the first failure.

Pieces can be fed while the stream runs, whenever their raw bytes have grown large: a long answer then needs little memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from locust_kvcache.contract.record import OutputChunk

REASONING_FIELDS = ("reasoning", "reasoning_content")
Segment = tuple[float, bytes]  # (receive stamp in monotonic seconds, bytes)


def _output_of(choice: dict[str, Any]) -> tuple[str, bool]:
    """(generated text of a choice, whether it is visible). Role-only and empty deltas give no text."""
    delta = choice.get("delta")
    if delta is None:
        text = choice.get("text") or ""
        return text, bool(text)
    if content := delta.get("content"):
        return content, True
    for key in REASONING_FIELDS:
        if delta.get(key):
            return delta[key], False
    arguments = [(call.get("function") or {}).get("arguments") or "" for call in delta.get("tool_calls") or ()]
    return "".join(arguments), False


def cached_tokens_of(event: dict[str, Any]) -> int | None:
    """Cached prompt tokens as OpenAI-compatible servers report them: OpenAI/vLLM/SGLang, DeepSeek, llama.cpp; None if not reported."""
    usage = event.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    for found in (
        details.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        (event.get("timings") or {}).get("cache_n"),
    ):
        if isinstance(found, int):
            return found
    return None


class ChunkLog:
    """The output chunks of one stream in 13 bytes each; -1 stands for an unknown number of tokens."""

    def __init__(self) -> None:
        self._stamps_s = array("d")
        self._tokens = array("i")
        self._visible = bytearray()

    def add(self, stamp_s: float, visible: bool, tokens: int | None) -> None:
        self._stamps_s.append(stamp_s)
        self._tokens.append(-1 if tokens is None else tokens)
        self._visible.append(visible)

    def __len__(self) -> int:
        return len(self._stamps_s)

    def chunks(self) -> list[OutputChunk]:
        rows = zip(self._stamps_s, self._visible, self._tokens, strict=True)
        return [OutputChunk(stamp_s, bool(visible), None if tokens < 0 else tokens) for stamp_s, visible, tokens in rows]


class EventReader:
    """Reads the events of one stream in order."""

    def __init__(self) -> None:
        self.log = ChunkLog()
        self.first_choice_at_s: float | None = None
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.finish_reason: str | None = None
        self.failure: tuple[str, str] | None = None  # (error class, what was wrong): the first one
        self.reply = ""
        self._texts: list[str] = []
        self._rest = b""  # of a line that is not complete yet
        self._rest_at_s = 0.0
        self._total_tokens = 0

    def feed(self, segments: Iterable[Segment]) -> None:
        """Take the next pieces. A line is stamped by the piece that completed it; LF and CRLF both end one."""
        for stamp_s, payload in self._lines(segments):
            self._payload(stamp_s, payload, "malformed")
        self.reply += "".join(self._texts)
        self._texts.clear()

    def finish(self, complete: bool) -> None:
        """The stream is over; what is left of an unfinished line is its last event, or the place where it was cut."""
        if self._rest.startswith(b"data:"):
            self._payload(self._rest_at_s, self._rest[5:].strip(), "malformed" if complete else "cut")
            self.feed(())

    def _lines(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        for stamp_s, data in segments:
            lines = (self._rest + data).split(b"\n")
            self._rest, self._rest_at_s = lines.pop(), stamp_s
            for line in lines:
                if line.startswith(b"data:"):
                    yield stamp_s, line[5:].strip()

    def _payload(self, stamp_s: float, payload: bytes, if_not_json: str) -> None:
        if payload == b"[DONE]" or not payload:
            return
        try:
            event = orjson.loads(payload)
        except ValueError:
            self._fail(if_not_json, f"not JSON: {payload[:80]!r}")
            return
        if isinstance(event, dict):
            self._event(stamp_s, event)
        else:
            self._fail("malformed", f"expected a JSON object, got {payload[:80]!r}")

    def _fail(self, status: str, error: str) -> None:
        if self.failure is None:
            self.failure = (status, error)

    def _event(self, stamp_s: float, event: dict[str, Any]) -> None:
        if event.get("error"):
            error = event["error"]
            self._fail("stream_error", str(error.get("message", error) if isinstance(error, dict) else error))
        usage = event.get("usage") or {}
        choices = event.get("choices") or ()
        if choices and self.first_choice_at_s is None:
            self.first_choice_at_s = stamp_s
        for choice in choices:
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            text, visible = _output_of(choice)
            if text:
                self.log.add(stamp_s, visible, self._chunk_tokens(usage))
                if visible:
                    self._texts.append(text)
        if usage:
            self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
            self.output_tokens = usage.get("completion_tokens", self.output_tokens)
        if usage or "timings" in event:
            cached = cached_tokens_of(event)
            self.cached_tokens = self.cached_tokens if cached is None else cached

    def _chunk_tokens(self, usage: dict[str, Any]) -> int | None:
        """Tokens of this chunk where each chunk carries a running total (continuous usage)."""
        total = usage.get("completion_tokens")
        if not isinstance(total, int) or total <= self._total_tokens:
            return None
        tokens, self._total_tokens = total - self._total_tokens, total
        return tokens
