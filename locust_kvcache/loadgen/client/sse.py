"""Parses the events of a stream: chunks with output, their time stamps, usage, the first failure.

Pieces can be fed while the stream runs, whenever their raw bytes have grown large: a long answer then needs little memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

from locust_kvcache.contract.dialects import CountsOf
from locust_kvcache.contract.usage import Counts, checked_counts, whole_count
from locust_kvcache.loadgen.client.chunk_log import ChunkLog
from locust_kvcache.loadgen.client.content_template import ContentTemplate, Segment, template_of
from locust_kvcache.loadgen.client.delta import output_of
from locust_kvcache.loadgen.client.event_facts import as_dict, complaint, prompt_tokens, reported_cached_tokens, usage_of
from locust_kvcache.loadgen.client.typed_events import Said, typed_event

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PAGE_BYTES = 4000  # of a page that is no stream: enough for its title
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


class EventReader:
    """Reads the events of one stream in order. `counts` holds the checked token counts once the stream is over."""

    def __init__(self, learns: bool = True, counts_of: CountsOf | None = None) -> None:
        """`learns`: events that differ in their text alone are not parsed one by one; the result is the same. `counts_of`: of a server's
        dialect, whose counts take the place of those that stand where all servers have them."""
        self.log = ChunkLog()
        self.first_choice_at_s: float | None = None
        self.counts = Counts()
        self.finish_reason: str | None = None
        self.finish_message = ""  # what the server said beside its finish_reason
        self.failure: tuple[str, str] | None = None  # (error class, what was wrong): the first one
        self.response_id: str | None = None
        self.done = False  # [DONE] came
        self.unknown_field: str | None = None  # carried output, and is not known to
        self._texts: list[str] = []
        self._reported: dict[str, Any] = {}  # token counts, unchecked
        self._counts_of = counts_of
        self._told: dict[str, Any] = {}  # the same by the dialect
        self._in_pieces = False  # typed events carried output piece by piece
        self._rest: list[bytes] = []  # pieces of a line that is not complete yet
        self._rest_at_s = 0.0
        self._begun = False
        self._held: list[bytes] = []  # data lines that are no JSON value by themselves
        self._held_at_s = 0.0
        self._is_error = False  # the event under way is named `error`
        self._saw_data = False
        self._head = b""  # of what came before any data
        self._total_tokens = 0
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

    @property
    def prompt_tokens(self) -> int | None:
        return self.counts.prompt_tokens

    @property
    def output_tokens(self) -> int | None:
        return self.counts.output_tokens

    @property
    def cached_tokens(self) -> int | None:
        return self.counts.cached_tokens

    @property
    def reply(self) -> str:
        """The visible text. Halves of a character that came in two chunks are joined; what stays broken becomes U+FFFD."""
        text = "".join(self._texts)
        if text.isascii():
            return text
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def feed(self, segments: Sequence[Segment]) -> None:
        """Take the next pieces. A line is stamped by the piece that completed it; LF and CRLF both end one."""
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
            elif not line or line == b"\r":
                if self._held or self._is_error:
                    self._end_of_event("malformed")
            elif line.startswith(b"event:"):
                self._is_error = line[6:].strip() == b"error"
            elif line.startswith(b"error:"):  # llama.cpp
                self._is_error = True
                self._data(stamp_s, line[6:].strip())
        if not self._saw_data and len(self._head) < PAGE_BYTES:
            self._head += data[:PAGE_BYTES]
        if may_learn and len(self.log) == chunks + 1 and not self.finish_reason and self._is_between_events():
            self._learns_left -= 1
            self._template = template_of(data)

    def _is_between_events(self) -> bool:
        return not (self._rest or self._held or self._is_error)

    def finish(self, complete: bool) -> None:
        """The stream is over: an unfinished line is its last event, or the place where it was cut; then the counts are checked."""
        if_not_json = "malformed" if complete else "cut"
        rest = b"".join(self._rest)
        last = rest if self._begun else rest.removeprefix(BYTE_ORDER_MARK)
        if last.startswith(b"data:"):
            self._data(self._rest_at_s, last[5:].strip())
        self._rest = []
        self._end_of_event(if_not_json)
        said = self._reported | self._told
        self.counts = checked_counts(prompt_tokens(said), said.get("output"), said.get("cached"), len(self.log))

    def _lines(self, stamp_s: float, data: bytes) -> list[bytes]:
        """The lines that this piece completes; what follows the last one waits for the next piece."""
        lines = data.split(b"\n")
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

    def feed_object(self, stamp_s: float, body: bytes) -> None:
        """A whole answer as one JSON object, from a server that does not stream."""
        try:
            self._value(stamp_s, decoded(body), body)
        except ValueError:
            self._fail("malformed", f"not JSON: {body[:80]!r}")

    def _data(self, stamp_s: float, payload: bytes) -> None:
        """One data line: an event by itself as nearly always, else a part of one that an empty line ends."""
        self._saw_data = True
        if payload == b"[DONE]" or not payload:
            self.done = self.done or bool(payload)
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
                else:
                    self._fail(if_not_json, f"not JSON: {payload[:80]!r}")
        self._is_error = False

    def _value(self, stamp_s: float, value: Any, payload: bytes) -> None:
        if isinstance(value, dict):
            self._event(stamp_s, value)
        elif self._is_error:
            self._fail("stream_error", str(value))
        else:
            self._fail("malformed", f"expected a JSON object, got {payload[:80]!r}")

    def _fail(self, status: str, error: str) -> None:
        if self.failure is None:
            self.failure = (status, error)

    def _event(self, stamp_s: float, event: dict[str, Any]) -> None:
        if self._counts_of is not None:
            self._told |= {name: value for name, value in (self._counts_of(event) or {}).items() if value is not None}
        if not self._is_error and (said := typed_event(event)) is not None:
            self._typed(stamp_s, said)
            return
        if said_error := complaint(event, self._is_error):
            self._fail("stream_error", said_error)
        usage = usage_of(event)
        found = event.get("choices")
        choices = [choice for choice in found if isinstance(choice, dict)] if isinstance(found, list) else []
        self._first_choice(stamp_s, choices, event.get("id") or event.get("request_id"))
        for choice in choices:
            usage = usage or as_dict(choice.get("usage"))
            self._choice(stamp_s, choice, usage)
        if usage or "timings" in event:
            self._count(usage, reported_cached_tokens(event, usage))

    def _typed(self, stamp_s: float, said: Said) -> None:
        """An event of /v1/responses or /v1/messages."""
        if said.error:
            self._fail("stream_error", said.error)
        self._first_choice(stamp_s, said.choices, said.response_id)
        for choice in said.choices:
            self._in_pieces = self._choice(stamp_s, choice, {}) or self._in_pieces
        if said.part is not None and not self._in_pieces:
            self._choice(stamp_s, {"delta": said.part}, {})
        if said.whole is not None and not len(self.log):
            self._choice(stamp_s, {"delta": said.whole}, {})
        self._reported |= {name: value for name, value in said.counts.items() if value is not None}

    def _first_choice(self, stamp_s: float, choices: list[dict[str, Any]], response_id: Any) -> None:
        if choices and self.first_choice_at_s is None:
            self.first_choice_at_s = stamp_s
            self.response_id = str(response_id or "")[:200] or None

    def _choice(self, stamp_s: float, choice: dict[str, Any], usage: dict[str, Any]) -> bool:
        """Whether it carries output."""
        if reason := choice.get("finish_reason"):
            said = as_dict(reason)  # SGLang: {"type": "abort", "message": ...}
            self.finish_reason = str(said.get("type", reason))
            what = choice.get("error") or said
            self.finish_message = str(what.get("message", "") if isinstance(what, dict) else what)
        output = output_of(choice)
        if output.carries:
            self.log.add(stamp_s, bool(output.text), output.tokens or self._chunk_tokens(usage))
            if output.text:
                self._texts.append(output.text)
            self.unknown_field = self.unknown_field or output.unknown_field
        return output.carries

    def _count(self, usage: dict[str, Any], cached: Any) -> None:
        """Keep what was reported last; a count that is left out or null does not take an earlier one away."""
        reported = {"prompt": usage.get("prompt_tokens"), "output": usage.get("completion_tokens"), "cached": cached}
        self._reported |= {name: value for name, value in reported.items() if value is not None}

    def _chunk_tokens(self, usage: dict[str, Any]) -> int | None:
        """Tokens of this chunk where each chunk carries a running total (continuous usage)."""
        total = whole_count(usage.get("completion_tokens"))
        if total is None or total <= self._total_tokens:
            return None
        tokens, self._total_tokens = total - self._total_tokens, total
        return tokens
