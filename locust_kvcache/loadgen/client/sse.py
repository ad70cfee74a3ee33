"""Reads the bytes of a stream into its events: lines, the pieces of a line, events over several lines.

Pieces can be fed while the stream runs, whenever their raw bytes have grown large: a long answer then needs little memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from locust_kvcache.contract.dialects import CountsOf
from locust_kvcache.loadgen.client.content_template import ContentTemplate, Segment, template_of
from locust_kvcache.loadgen.client.stream_facts import StreamFacts

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CR = 13  # looking for a number is twice as fast as for a byte string
PAGE_BYTES = 4000  # of a page that is no stream: enough for its title
PINGS = frozenset((b"ping", b"heartbeat", b"keepalive", b"keep-alive"))  # names of events that say nothing, in whatever form
ERRORS = frozenset((b"error", b"exception"))
DONE_TOO = frozenset((b'"[DONE]"', b"[done]", b"DONE"))  # how some servers write [DONE]
LEARN_IN_VAIN = 8  # templates; a stream whose events differ in more than their text makes no further ones


def decoded(payload: bytes) -> Any:
    """The JSON value of an event. ValueError if it is none; what only Python's own reader takes (NaN, half characters) is taken."""
    try:
        return orjson.loads(payload)
    except ValueError:
        try:
            return json.loads(payload.decode("utf-8", "replace"))
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class EventReader(StreamFacts):
    """Reads the events of one stream in order; what they said is in its StreamFacts."""

    def __init__(self, learns: bool = True, counts_of: CountsOf | None = None) -> None:
        """`learns`: events that differ in their text alone are not parsed one by one; the result is the same. `counts_of`: of a server's
        dialect, whose counts take the place of those that stand where all servers have them."""
        super().__init__(counts_of)
        self.done = False  # [DONE] came
        self._rest: list[bytes] = []  # pieces of a line that is not complete yet
        self._rest_at_s = 0.0
        self._after_cr = False  # the last piece ended in CR: an LF that comes next belongs to it
        self._begun = False
        self._held: list[bytes] = []  # data lines that are no JSON value by themselves
        self._held_at_s = 0.0
        self._is_error = False  # the event under way is named `error`
        self._is_ping = False
        self._saw_data = False
        self._head = b""  # of what came before any data
        self._template: ContentTemplate | None = None
        self._learns_left = LEARN_IN_VAIN if learns else 0

    @property
    def begun(self) -> bool:
        """Whether a whole line has come."""
        return self._begun

    @property
    def page_head(self) -> bytes:
        """The first bytes of a body that holds no data line at all, else nothing."""
        return b"" if self._saw_data else self._head

    def feed(self, segments: Sequence[Segment]) -> None:
        """Take the next pieces. A line is stamped by the piece that completed it; LF, CRLF and CR alone all end one."""
        kept, self._texts = self._texts, []
        at = 0
        while at < len(segments):
            if self._template is not None and self._is_between_events():
                stamps_s, texts = self._template.matching(segments, at)
                if stamps_s:
                    self.log.extend(stamps_s, self._template.visible)
                    if self._template.visible:
                        self._texts += texts
                    self._learns_left = LEARN_IN_VAIN
                    at += len(stamps_s)
                    continue
            self._piece(*segments[at])
            at += 1
        kept.append("".join(self._texts))
        self._texts = kept

    def _piece(self, stamp_s: float, data: bytes) -> None:
        """Take one piece line by line; learn from it if it is one event and no more."""
        may_learn, chunks = self._learns_left > 0 and self._begun and self._is_between_events(), len(self.log)
        for line in self._lines(stamp_s, data):
            if line.startswith(b"data:"):
                self._data(stamp_s, line[5:].strip())
            elif line:
                self._other_line(stamp_s, line)
            elif self._held or self._is_error or self._is_ping:
                self._end_of_event("malformed")
        if not self._saw_data and len(self._head) < PAGE_BYTES:
            self._head += data[:PAGE_BYTES]
        if may_learn and len(self.log) == chunks + 1 and not self.finish_reason and self._is_between_events():
            self._learns_left -= 1
            self._template = template_of(data)

    def _other_line(self, stamp_s: float, line: bytes) -> None:
        """A line that is neither empty nor a data line."""
        if line.startswith(b"event:"):
            name = line[6:].strip().lower()
            self._is_error, self._is_ping = name in ERRORS, name in PINGS
        elif line.startswith(b"error:"):  # llama.cpp
            self._is_error = True
            self._data(stamp_s, line[6:].strip())

    def _is_between_events(self) -> bool:
        return not (self._rest or self._held or self._is_error or self._is_ping)

    def finish(self, complete: bool) -> None:
        """The stream is over: an unfinished line is its last event, or the place where it was cut; then the counts are checked."""
        if_not_json = "malformed" if complete and not self._rest else "cut"
        rest = b"".join(self._rest)
        last = rest if self._begun else rest.removeprefix(BYTE_ORDER_MARK)
        if last.startswith(b"data:"):
            self._data(self._rest_at_s, last[5:].strip())
        elif last:
            self._other_line(self._rest_at_s, last)
        self._rest, before = [], self.failure
        self._end_of_event(if_not_json)
        self._check_counts()
        if self._remark is not None and before is None and not (self.finish_reason and len(self.log)):
            self.failure = ("stream_error", self._remark)

    def _lines(self, stamp_s: float, data: bytes) -> list[bytes]:
        """The lines that this piece completes; what follows the last one waits for the next piece."""
        lines = self._split(data) if self._after_cr or CR in data else data.split(b"\n")
        if len(lines) > 1:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest = []
            if not self._begun:
                self._begun = True
                lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
        if last := lines.pop():
            self._rest.append(last)
            self._rest_at_s = stamp_s
        return lines

    def _split(self, data: bytes) -> list[bytes]:
        """As data.split() with all line ends. A CR at the end of a piece ends its line at once: nobody knows when the next one comes."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        return [*lines, b""] if data.endswith((b"\r", b"\n")) else lines or [b""]

    def feed_object(self, stamp_s: float, body: bytes, complete: bool = True) -> None:
        """A whole answer as one JSON object, from a server that does not stream. `complete`: by the framing of its body."""
        try:
            self._value(stamp_s, decoded(body), body)
        except ValueError:
            self._fail("malformed" if complete else "cut", f"neither one JSON object nor server-sent events: {body[:80]!r}")

    def _data(self, stamp_s: float, payload: bytes) -> None:
        """One data line: an event by itself as nearly always, else a part of one that an empty line ends."""
        self._saw_data = True
        if payload == b"[DONE]" or not payload:
            self.done = self.done or bool(payload)
            return
        if self._is_ping:
            return
        if self._held:
            self._held.append(payload)
            self._held_at_s = stamp_s
            return
        try:
            value = decoded(payload)
        except ValueError:
            self._held, self._held_at_s = [payload], stamp_s
            return
        self._value(stamp_s, value, payload)

    def _end_of_event(self, if_not_json: str) -> None:
        if self._held:
            payload, self._held = b"\n".join(self._held), []
            try:
                self._value(self._held_at_s, decoded(payload), payload)
            except ValueError:
                if self._is_error:
                    self._fail("stream_error", payload.decode("utf-8", "replace"))
                elif payload in DONE_TOO:
                    self.done = True
                else:
                    self._fail(if_not_json, f"not JSON: {payload[:80]!r}")
        self._is_error = self._is_ping = False

    def _value(self, stamp_s: float, value: Any, payload: bytes) -> None:
        if isinstance(value, dict):
            self._event(stamp_s, value, self._is_error)
        elif self._is_error:
            self._fail("stream_error", str(value))
        elif payload in DONE_TOO:
            self.done = True
        elif value is None or value in ("", []):
            return  # keeps the connection alive
        else:
            self._fail("malformed", f"expected a JSON object, got {payload[:80]!r}")
