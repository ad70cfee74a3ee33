"""Keeps what the events of one stream said: output with its time stamps, token counts, how it finished, the first failure."""

from __future__ import annotations

from typing import Any

from locust_kvcache.contract.dialects import CountsOf
from locust_kvcache.contract.usage import Counts, checked_counts, whole_count
from locust_kvcache.loadgen.client.chunk_log import ChunkLog
from locust_kvcache.loadgen.client.delta import output_of
from locust_kvcache.loadgen.client.event_facts import (
    as_dict,
    complaint,
    prompt_tokens,
    remark,
    reported_cached_tokens,
    said_by,
    usage_of,
)
from locust_kvcache.loadgen.client.typed_events import Said, typed_event


class StreamFacts:
    """`counts` holds the checked token counts once the stream is over. `counts_of`: of a server's dialect."""

    def __init__(self, counts_of: CountsOf | None) -> None:
        self.log = ChunkLog()
        self.first_choice_at_s: float | None = None
        self.counts = Counts()
        self.finish_reason: str | None = None
        self._finished_at_s = 0.0
        self.finish_message = ""  # what the server said beside its finish_reason
        self.failure: tuple[str, str] | None = None  # (error class, what was wrong): the first one
        self._remark: str | None = None  # perhaps what was wrong
        self.response_id: str | None = None
        self.unknown_field: str | None = None  # carried output, and is not known to
        self._texts: list[str] = []
        self._reported: dict[str, Any] = {}  # token counts, unchecked
        self._counts_of = counts_of
        self._told: dict[str, Any] = {}  # the same by the dialect
        self._in_pieces = False  # typed events carried output piece by piece
        self._total_tokens = 0

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

    def _fail(self, status: str, error: str) -> None:
        if self.failure is None:
            self.failure = (status, error)

    def _event(self, stamp_s: float, event: dict[str, Any], is_error: bool) -> None:
        """Take an event; `is_error`: it is named `error`."""
        if self._counts_of is not None:
            self._told |= {name: value for name, value in (self._counts_of(event) or {}).items() if value is not None}
        if not is_error and (said := typed_event(event)) is not None:
            self._typed(stamp_s, said)
            if error := event.get("error"):
                self._fail("stream_error", said_by(error))
            return
        if said_error := complaint(event, is_error):
            self._fail("stream_error", said_error)
        elif self._remark is None:
            self._remark = remark(event)
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
            self.finish_reason, self._finished_at_s = str(said.get("type", reason)), stamp_s
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
        if usage.get("prompt_tokens") == 0 and self._reported.get("prompt"):
            return  # a placeholder: each prompt has a token
        reported = {"prompt": usage.get("prompt_tokens"), "output": usage.get("completion_tokens"), "cached": cached}
        self._reported |= {name: value for name, value in reported.items() if value is not None}

    def _chunk_tokens(self, usage: dict[str, Any]) -> int | None:
        """Tokens of this chunk where each chunk carries a running total (continuous usage)."""
        total = whole_count(usage.get("completion_tokens"))
        if total is None or total <= self._total_tokens:
            return None
        tokens, self._total_tokens = total - self._total_tokens, total
        return tokens

    def _check_counts(self) -> None:
        """The stream is over: the last of what was reported counts."""
        said = self._reported | self._told
        if not len(self.log) and self.finish_reason == "length" and whole_count(said.get("output")) == 1:
            self.log.add(self._finished_at_s, False, 1)  # one token without a text: what ended the answer came with it
        self.counts = checked_counts(prompt_tokens(said), said.get("output"), said.get("cached"), len(self.log))
