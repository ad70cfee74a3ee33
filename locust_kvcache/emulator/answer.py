"""Writes the bytes of an OpenAI answer, streamed as vLLM streams them, or wrong as a fault asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from locust_kvcache.emulator.bodies import MESSAGES, RESPONSES
from locust_kvcache.emulator.deployment import Job
from locust_kvcache.emulator.realtime import RealTime
from locust_kvcache.emulator.truth import Passage, TruthLog
from locust_kvcache.emulator.wire import Connection, HttpRequest, head
from locust_kvcache.emulator.wording import Shape, Wording
from locust_kvcache.emulator.wording_typed import MessagesWording, ResponsesWording

WORDINGS: dict[str, type[Wording]] = {RESPONSES: ResponsesWording, MESSAGES: MessagesWording}


class Answer:
    """One answer: a fixed text of whole words, one token each."""

    def __init__(
        self,
        request: HttpRequest,
        connection: Connection,
        shape: Shape,
        passage: Passage,
        job: Job,
        log: TruthLog,
        clock: RealTime,
        cancel: Callable[[Job], None],
    ) -> None:
        self.request, self.connection, self.shape, self.passage = request, connection, shape, passage
        self.log, self.clock, self.job, self.faults = log, clock, job, passage.faults
        self._cancel = cancel
        self._tokens = 0
        self._pending: list[int] = []  # tokens not yet sent: several go into one chunk
        self._held: list[float] | None = None  # due times of tokens that a stall keeps back
        self.over = False
        self.wording = WORDINGS.get(shape.api, Wording)(shape, passage, job)
        self._opened = False
        self._eol = b"\r\n" if "crlf" in self.faults else b"\n"
        self._chunked = "no_chunked" not in self.faults
        self._keep_alive = request.keep_alive and self._chunked
        self._per_chunk = int(self.faults.get("tokens_per_chunk") or 0) or shape.stream_interval
        self._plain = not self.faults and self._per_chunk == 1 and not shape.continuous_usage

    # -- bytes

    def _send(self, data: bytes) -> None:
        if self._chunked and data:
            data = b"%x\r\n" % len(data) + data + b"\r\n"
        size = int(self.faults.get("tiny_segments") or 0)
        if not size:
            self.connection.write(data)
            return
        for start in range(0, len(data), size):
            self.connection.write(data[start : start + size])

    def _headers(self) -> None:
        self.passage.headers_ns = time.monotonic_ns()
        media_type = "application/json" if "sse_as_json" in self.faults else "text/event-stream; charset=utf-8"
        fields = {"content-type": media_type} | ({"transfer-encoding": "chunked"} if self._chunked else {})
        fields |= self.request.answer_headers
        self.connection.write(head(200, fields, self._keep_alive))

    # -- what happens, in order

    def begin(self) -> None:
        """vLLM sends the headers before the first token is there."""
        if "slow_headers" in self.faults:
            simulation = self.clock.simulation
            simulation.at(simulation.now_s + (self.faults["slow_headers"] or 0), self._open)
            self._held = []
        else:
            self._open()

    def _open(self, _: Any = None) -> None:
        faults = self.faults
        if self.shape.stream and not self.over:
            self._open_stream(faults)
        self._resume(None)

    def _open_stream(self, faults: dict[str, Any]) -> None:
        self._headers()
        if "early_role_chunk" in faults or self.wording.opens_early:
            self._send(self._opening())
        if faults.get("reset_connection") == 0 or faults.get("cut") == 0:
            self._abort()
        elif "empty_stream" in faults:
            self._end()
        elif "keep_alive_comments" in faults:
            self._comment(None)

    def _opening(self) -> bytes:
        """What comes before the first output, once."""
        if self._opened or ("no_role_chunk" in self.faults and type(self.wording) is Wording):
            return b""
        self._opened = True
        return self.wording.opening()

    def _comment(self, _: Any) -> None:
        if not self._tokens and not self.over and not self.connection.closed:
            self._send(b": keep-alive" + self._eol + self._eol)
            simulation = self.clock.simulation
            simulation.at(simulation.now_s + max(0.001, self.faults["keep_alive_comments"] or 0), self._comment)

    def token(self, job: Job, due_s: float) -> None:
        if self.over:
            return
        if self._held is not None:
            self._held.append(due_s)
            return
        number = self._tokens
        self._tokens += 1
        if not self.shape.stream:
            self._stamp(due_s)
            if self._tokens == job.output_tokens:
                self._finish_whole()
            return
        if self._plain and 0 < number < job.output_tokens - 1:
            data = self.wording.chunked_word(number)
            self._stamp(due_s)
            self.connection.write(data)
            return
        self._pending.append(number)
        last = self._tokens == job.output_tokens
        if last or number == 0 or len(self._pending) >= self._per_chunk or self._ends_here():
            self._chunk(due_s, last)

    def _stamp(self, due_s: float) -> None:
        sent_ns, due_ns = time.monotonic_ns(), int(due_s * 1e9)
        self.passage.due_ns.append(due_ns)
        self.passage.sent_ns.append(sent_ns)
        self.log.sent(sent_ns - due_ns)

    def _ends_here(self) -> bool:
        ends = (self.faults.get(name) for name in ("cut", "error_in_stream", "reset_connection"))
        return any(end is not None and self._tokens >= end for end in ends)

    def _chunk(self, due_s: float, last: bool) -> None:
        faults, first = self.faults, self._pending[0]
        event = self._opening() + self.wording.chunk(self._pending, last)
        malformed = faults.get("malformed_json")
        if malformed is not None and first <= malformed < first + len(self._pending):
            event = self.wording.line(b'{"id": "broken, "choices": [')
        for _ in self._pending:
            self._stamp(due_s)
        self._pending = []
        self._send(event)
        if not self._end_badly() and last:
            self._end()
        elif "stall" in faults and self._held is None and self._tokens >= 2 > first:
            self._held = []
            simulation = self.clock.simulation
            simulation.at(simulation.now_s + (faults["stall"] or 0), self._resume)

    def _resume(self, _: Any) -> None:
        held, self._held = self._held or [], None
        for due_s in held:
            self.token(self.job, due_s)

    def _end_badly(self) -> bool:
        faults = self.faults
        error_after = faults.get("error_in_stream")
        if error_after is not None and self._tokens >= error_after:
            self._send(self.wording.error())
            self._close_body("error_in_stream")
            return True
        for name in ("cut", "reset_connection"):
            if name in faults and self._tokens >= (faults[name] or 0):
                self._abort()
                return True
        return False

    def _abort(self) -> None:
        self._finished("cut" if "cut" in self.faults else "reset_connection")
        self.connection.on_lost = None
        if "cut" in self.faults:
            self.connection.close()
        else:
            self.connection.reset()

    def _end(self) -> None:
        """What comes after the last output, and the end of the body."""
        empty = "empty_stream" in self.faults
        wants_usage = self.shape.include_usage and not {"usage_on_finish_chunk", "no_usage"} & set(self.faults)
        if not empty and (tail := self.wording.closing(self._tokens, wants_usage)):
            self._send(tail)
        self._close_body("empty_stream" if empty else "complete")

    def _close_body(self, outcome: str) -> None:
        if self._chunked:
            self.connection.write(b"0\r\n\r\n")
        self._finished(outcome)
        self.connection.finish(self._keep_alive)

    def _finish_whole(self) -> None:
        """Not streamed: everything at once."""
        body = self.wording.whole()
        self._finished("complete")
        self.connection.answer(self.request, 200, body)

    def _finished(self, outcome: str) -> None:
        self.over = True
        if self.passage.outcome == "open":
            self.passage.outcome = outcome
        if outcome != "complete":
            self._cancel(self.job)
        self.passage.close()

    def lost(self) -> None:
        """The client has gone."""
        self._finished("client_gone")
