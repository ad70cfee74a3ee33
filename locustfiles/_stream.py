"""A streamed completion: request bytes in, a StreamOutcome out, parsed from the server-sent events after the stream has ended."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import httptools
import orjson

from locustfiles._http import MAX_RESPONSE_BYTES, Connection, Response, ResponseTooLarge
from scenarios.record import OutputChunk

REASONING_FIELDS = ("reasoning", "reasoning_content")


class StreamStopped(gevent.GreenletExit):
    """Thrown into a user's greenlet to end its open stream when the test stops."""


@dataclass
class StreamOutcome:
    """One request as it went. `status` is `ok` or an error class of scenarios/record.py."""

    status: str = "ok"
    error: str | None = None
    response: Response = field(default_factory=Response)
    chunks: list[OutputChunk] = field(default_factory=list)
    first_choice_at_s: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    reply: str = ""

    def fail(self, status: str, error: str) -> None:
        """The first failure is the cause; what follows from it is not reported."""
        if self.status == "ok":
            self.status, self.error = status, error[:500]

    @property
    def response_bytes(self) -> int:
        return sum(len(data) for _, data in self.response.segments)


def sse_events(segments: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """(stamp, payload) of each `data:` line. A line is stamped by the segment that completed it; LF and CRLF both end one."""
    rest = b""
    stamp = 0.0
    for stamp, data in segments:
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                yield stamp, line[5:].strip()
    if rest.startswith(b"data:"):
        yield stamp, rest[5:].strip()


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


class _Reader:
    """Takes the events of one stream in order; `previous_tokens` turns running totals into tokens per chunk."""

    def __init__(self, outcome: StreamOutcome) -> None:
        self.outcome = outcome
        self.previous_tokens = 0
        self.texts: list[str] = []

    def event(self, stamp_s: float, event: dict[str, Any]) -> None:
        outcome = self.outcome
        if event.get("error"):
            error = event["error"]
            outcome.fail("stream_error", str(error.get("message", error) if isinstance(error, dict) else error))
        usage = event.get("usage") or {}
        choices = event.get("choices") or ()
        if choices and outcome.first_choice_at_s is None:
            outcome.first_choice_at_s = stamp_s
        for choice in choices:
            outcome.finish_reason = choice.get("finish_reason") or outcome.finish_reason
            text, visible = _output_of(choice)
            if text:
                outcome.chunks.append(OutputChunk(stamp_s, visible, self._tokens(usage)))
                self.texts.append(text if visible else "")
        if usage:
            outcome.prompt_tokens = usage.get("prompt_tokens", outcome.prompt_tokens)
            outcome.output_tokens = usage.get("completion_tokens", outcome.output_tokens)
        if usage or "timings" in event:
            cached = cached_tokens_of(event)
            outcome.cached_tokens = outcome.cached_tokens if cached is None else cached

    def _tokens(self, usage: dict[str, Any]) -> int | None:
        """Tokens of this chunk where each chunk carries a running total (continuous usage)."""
        total = usage.get("completion_tokens")
        if not isinstance(total, int) or total <= self.previous_tokens:
            return None
        tokens, self.previous_tokens = total - self.previous_tokens, total
        return tokens


def parse_stream(outcome: StreamOutcome) -> None:
    """Fill the outcome from its response's segments, and judge whether the stream was whole.

    Whole: a finish_reason came and the body ended by its own framing. `[DONE]` is optional, some servers never send it.
    """
    encoding = outcome.response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        outcome.fail(
            "malformed", f"Content-Encoding {encoding!r} although only identity was accepted; compressed events cannot be timed"
        )
        return
    reader = _Reader(outcome)
    for stamp_s, payload in sse_events(outcome.response.segments):
        if payload == b"[DONE]" or not payload:
            continue
        try:
            event = orjson.loads(payload)
        except ValueError:
            # the last event of a cut stream is torn: that is the cut, not malformed JSON
            outcome.fail("malformed" if outcome.response.complete else "cut", f"not JSON: {payload[:80]!r}")
            continue
        if isinstance(event, dict):
            reader.event(stamp_s, event)
        else:
            outcome.fail("malformed", f"expected a JSON object, got {payload[:80]!r}")
    outcome.reply = "".join(reader.texts)
    if not outcome.response.complete:
        outcome.fail("cut", "the connection closed before the response was complete")
    elif not outcome.chunks:
        outcome.fail("no_output", "the stream ended without any generated output")
    elif outcome.finish_reason is None:
        outcome.fail("cut", "the stream ended without a finish_reason")


def _http_failure(outcome: StreamOutcome) -> None:
    response = outcome.response
    body = b"".join(data for _, data in response.segments)[:400].decode("utf-8", "replace")
    status = response.http_status or 0
    if 300 <= status < 400:
        body = f"redirect to {response.headers.get('location')!r} refused; put the final address into the endpoint"
    outcome.fail("http_error", f"HTTP {status}: {body}")


def stream_request(connection: Connection, request: bytes, timeout_s: float, outcome: StreamOutcome) -> None:
    """Send one request and fill `outcome` from its stream. Every way it can end is a status; only GreenletExit is raised on."""
    timeout = gevent.Timeout(timeout_s)
    timeout.start()
    try:
        outcome.response.connect_ms = connection.ensure_open()
        connection.exchange(request, outcome.response)
    except gevent.Timeout as caught:
        if caught is not timeout:
            raise
        outcome.fail("timeout", f"no complete response within {timeout_s:g} s")
    except StreamStopped:
        outcome.fail("stopped", "the test was stopped while the request was open")
    except gevent.GreenletExit:
        outcome.fail("stopped", "the user was stopped while its request was open")
        raise
    except (OSError, httptools.HttpParserError, ResponseTooLarge) as error:
        _transport_failure(outcome, error)
    finally:
        timeout.close()
        if outcome.status != "ok":
            connection.close()
        finish_outcome(outcome)


def _transport_failure(outcome: StreamOutcome, error: Exception) -> None:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, ResponseTooLarge):
        outcome.fail("too_large", f"more than {MAX_RESPONSE_BYTES} bytes in one response")
    elif isinstance(error, TimeoutError) and outcome.response.sent_at_s:
        outcome.fail("timeout", str(error))
    elif isinstance(error, ConnectionRefusedError):
        outcome.fail("refused", what)
    elif isinstance(error, ssl.SSLError):
        outcome.fail("tls", what)
    elif isinstance(error, httptools.HttpParserError):
        outcome.fail("malformed", f"not HTTP: {what}")
    else:
        outcome.fail("reset" if outcome.response.sent_at_s else "connect", what)


def finish_outcome(outcome: StreamOutcome) -> None:
    """Parse what arrived; also of a failed request, since what it measured until then was real."""
    if outcome.response.http_status is None:
        if outcome.response.sent_at_s:
            outcome.fail("reset", "the connection closed before any response")
    elif outcome.response.http_status == 200:
        parse_stream(outcome)
    else:
        _http_failure(outcome)
