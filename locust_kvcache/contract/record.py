"""Defines the Record, one planned request's outcome with its times (ms) and tokens.

The record is the border of the project: the load writes it as one JSON line, the analysis reads nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass

import orjson

RECORD_FORMAT = 1
OK = "ok"
LOST = "lost"
STOPPED = "stopped"
INTERNAL_ERROR = "internal_error"
PHASE_WARM_UP, PHASE_OPEN_AT_END = "warm_up", "open_at_end"
STATUSES = {
    OK: "the stream was whole: output, a finish_reason, ended by its own framing",
    "refused": "the connection was refused",
    "connect": "no connection could be made (name, route, timeout)",
    "tls": "the TLS handshake or certificate failed",
    "timeout": "not complete within --request-timeout, or nothing received for --idle-timeout",
    "reset": "the connection closed or broke before the response",
    "http_error": "an HTTP status other than 200 and 201, or a page instead of events",
    "stream_error": "an error object inside the stream",
    "aborted": "the server ended the answer itself: finish_reason abort, error, or an unknown one before all tokens asked for came",
    "cut": "the stream ended before its finish_reason or its framing's end",
    "no_output": "a complete response without any generated output",
    "too_large": "more bytes in one response than a worker may keep",
    "malformed": "not HTTP, or not JSON in an event",
    "skipped": "not sent: an earlier turn whose answer it carries failed",
    STOPPED: "the test was stopped while the request was open",
    INTERNAL_ERROR: "an exception in the load generator or in a user's code; the log has its traceback",
    LOST: "the worker that had it was lost; whether it was sent is unknown",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One line of records.jsonl. Unknown is None (null), never 0. docs/metrics.md defines every field."""

    run_id: str
    deployment: str
    model: str
    scenario: str
    round: int  # 1-based
    request_index: int  # 0-based position in the plan
    session_id: int
    turn: int  # 1-based
    worker: str
    started_at_s: float | None = None  # wall clock: orders records across hosts, never subtracted
    scheduled_at_s: float | None = None  # open loop: intended start, wall clock
    schedule_lag_ms: float | None = None
    status: str = OK
    error: str | None = None
    http_status: int | None = None
    finish_reason: str | None = None
    planned_prompt_tokens: int | None = None
    prompt_tokens: int | None = None
    planned_output_tokens: int | None = None  # what the request asked for
    output_tokens: int | None = None
    planned_cached_tokens: int | None = None
    reported_cached_tokens: int | None = None
    usage_rejected: str | None = None  # which reported counts cannot be true, and so are null here (contract/usage.py)
    shares_prefix_with: int | None = None  # request_index of the first request that sends the same prefix
    connect_ms: float | None = None  # None: the connection was kept from an earlier request
    reconnected: bool | None = None  # the kept connection had been closed: the request was sent again, on a new one
    end_missing: bool | None = None  # whole by its [DONE] alone: no finish_reason came, or the body did not end
    ttfb_ms: float | None = None
    first_choice_ms: float | None = None
    ttft_ms: float | None = None
    ttfvt_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    icl_p50_ms: float | None = None
    icl_p99_ms: float | None = None
    chunks: int | None = None
    response_bytes: int | None = None
    clock: str = "process"  # kernel | process: who stamped the chunks
    loop_lag_ms: float | None = None  # worst event-loop delay of the worker while this request was open
    client_limited: bool | None = None  # that delay could have moved this record's times (late_stamps.py)
    ttft_uncertain_ms: float | None = None  # the true TTFT may be so much shorter; 0: the first chunk has a stamp of its own
    round_kind: str | None = None  # cold | control | hit (contract/round_kinds.py); None in records of before
    engine: str | None = None  # the engine that answered, where the router names it in a header of the response
    buffered: bool | None = None  # something between the model and here kept chunks back (clumps.py)
    tenant: str | None = None  # whose request it is, where the scenario has tenants or names one
    cache_salt: str | None = None  # as sent: prefixes under different salts share nothing
    priority: int | None = None  # as sent
    sent_headers: str | None = None  # those made for the session: "name: value; ..."; echoed values as a hash
    planned_wait_ms: float | None = None  # after what it waited for; None: the first of its session
    phase: str | None = None  # of a timed round: warm_up (sent in its first part), open_at_end (ended after its time); else None
    format: int = RECORD_FORMAT

    def to_json(self) -> str:
        """The record as one JSON line without the newline. ValueError if a number is NaN or infinite, which JSON cannot hold."""
        values = {name: getattr(self, name) for name in FIELDS}
        if not all(map(math.isfinite, (value for value in values.values() if type(value) is float))):
            raise ValueError("a record holds a number that is not finite")
        try:
            return orjson.dumps(values).decode()
        except TypeError:  # half a character of a server's text becomes ?, a number beyond 64 bits is written as it is
            return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


FIELDS: tuple[str, ...] = tuple(f.name for f in dataclasses.fields(Record))
