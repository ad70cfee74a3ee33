"""Defines the Record, one planned request's outcome with its times (ms) and tokens.

The record is the border of the project: the load writes it as one JSON line, the analysis reads nothing else.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    "http_error": "an HTTP status other than 200, or a page instead of events",
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


class OutputChunk(NamedTuple):
    """One streamed chunk that carries generated output (content, reasoning or tool-call arguments)."""

    received_at_s: float  # monotonic clock
    visible: bool  # carries non-empty `content`
    tokens: int | None = None  # tokens in this chunk, where the server says so (continuous usage)


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of one streamed request in ms since its first byte was handed to the socket; None where undefined."""

    ttfb_ms: float | None = None
    first_choice_ms: float | None = None
    ttft_ms: float | None = None
    ttfvt_ms: float | None = None
    e2e_ms: float | None = None
    tpot_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None
    icl_p50_ms: float | None = None
    icl_p99_ms: float | None = None
    clump_gap_ms: float | None = None  # chunks came in clumps: the median time between clumps; the TTFT where all came at once


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
    client_limited: bool | None = None  # that delay could have moved this record's times (client_was_limited)
    ttft_uncertain_ms: float | None = None  # the true TTFT may be so much shorter; 0: the first chunk has a stamp of its own
    round_kind: str | None = None  # cold | control | hit (contract/round_kinds.py); None in records of before
    engine: str | None = None  # the engine that answered, where the router names it in a header of the response
    buffered: bool | None = None  # something between the model and here kept chunks back (was_buffered)
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


def quantile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics: position q * (n - 1), as numpy's default. Needs one value."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def tpot_ms(ttft_ms: float, e2e_ms: float, output_tokens: int, first_chunk_tokens: int) -> float | None:
    """(e2e - ttft) / (output_tokens - tokens in the first output chunk); None when no token followed the first chunk."""
    later_tokens = output_tokens - first_chunk_tokens
    return (e2e_ms - ttft_ms) / later_tokens if later_tokens > 0 else None


def chunk_tokens(chunks: Sequence[OutputChunk], output_tokens: int | None) -> list[int] | None:
    """Tokens per chunk: as the server said, or one each when there are as many chunks as tokens; else unknown (None)."""
    if chunks and chunks[0].tokens is not None and all(chunk.tokens is not None for chunk in chunks):
        return [chunk.tokens or 0 for chunk in chunks]
    return [1] * len(chunks) if len(chunks) == output_tokens else None


def inter_token_ms(gaps_ms: Sequence[float], later_chunk_tokens: Sequence[int]) -> list[float]:
    """Each gap between chunks, shared out over the tokens that the later chunk carried."""
    return [gap / n for gap, n in zip(gaps_ms, later_chunk_tokens, strict=True) for _ in range(n)]


MATTERS_MS, MATTERS_SHARE = 1.0, 0.05  # a later time stamp says something else of a TTFT: in ms, and as a share of the TTFT


def matters(late_ms: float, ttft_ms: float) -> bool:
    """Whether a time stamp that may be so late says something else of a TTFT: beyond 5 % of it, and beyond 1 ms."""
    return late_ms > max(MATTERS_MS, MATTERS_SHARE * ttft_ms)


def client_was_limited(
    clock: str, loop_lag_ms: float | None, ttft_ms: float | None, icl_p50_ms: float | None, ttft_uncertain_ms: float | None = None
) -> bool | None:
    """Whether the worker's loop was late enough to move a request's times; None where nothing was measured.

    The process clock stamps when the loop gets there. The kernel stamps by itself; only when the loop is later than the usual gap
    between chunks can two of them wait together and share one stamp, that of the last.
    """
    if loop_lag_ms is None or ttft_ms is None:
        return None
    if ttft_uncertain_ms is not None and matters(ttft_uncertain_ms, ttft_ms):
        return True
    if clock == "kernel":
        return icl_p50_ms is not None and loop_lag_ms > icl_p50_ms
    return matters(loop_lag_ms, ttft_ms)


def first_stamp_uncertain_ms(clock: str, chunks: Sequence[OutputChunk], unseen_s: Mapping[float, float]) -> float | None:
    """How much earlier the first chunk may have come than its stamp says; None for the process clock, whose lag is known as a whole.

    A first chunk that was read alone has its own stamp. One that was read together with the next has the next one's, where they came
    apart; `unseen_s` by stamp: the time since nothing was left unread, where it is known.
    """
    if clock != "kernel" or not chunks:
        return None
    together = len(chunks) > 1 and chunks[0].received_at_s == chunks[1].received_at_s
    if not together:
        return 0.0
    unseen = unseen_s.get(chunks[0].received_at_s)
    return None if unseen is None else unseen * 1000


TOGETHER_MS = 0.1  # chunks no further apart than this arrived together: no model writes 10,000 tokens/s into one stream
CLUMP_CHUNKS = 4  # so many chunks per arrival, on average, are clumps
LEAST_CLUMP_GAP_MS = (
    20.0  # a server that writes in bursts has smaller gaps, and the worker's own small delays make such clumps too
)
LATE_SHARE = 0.25  # of the time between clumps; a loop that is later may have made them


def time_between_clumps(ttft_ms: float, gaps_ms: Sequence[float], output_tokens: int | None) -> float | None:
    """The median time between clumps where the chunks came in clumps of CLUMP_CHUNKS or more, LEAST_CLUMP_GAP_MS or more apart; the TTFT
    where all of a long answer came at once; else None."""
    ordered = sorted(gaps_ms)
    apart = ordered[bisect.bisect_right(ordered, TOGETHER_MS) :]
    chunks = len(gaps_ms) + 1
    if not apart:
        return ttft_ms if max(chunks, output_tokens or 0) >= CLUMP_CHUNKS else None
    gap_ms = quantile(apart, 0.5)
    return gap_ms if chunks >= CLUMP_CHUNKS * (len(apart) + 1) and gap_ms >= LEAST_CLUMP_GAP_MS else None


def was_buffered(clump_gap_ms: float | None, loop_lag_ms: float | None) -> bool:
    """Whether something on the way, a proxy mostly, kept chunks back. The worker's own delay makes clumps too: then it is no evidence."""
    return clump_gap_ms is not None and (loop_lag_ms is None or loop_lag_ms <= LATE_SHARE * clump_gap_ms)


def stream_timing(
    sent_at_s: float,
    first_byte_at_s: float | None,
    first_choice_at_s: float | None,
    chunks: Sequence[OutputChunk],
    output_tokens: int | None,
) -> Timing:
    """All times of one request; `sent_at_s` and the chunks' stamps share one monotonic clock.

    TTFT ends at the first chunk with output, E2E at the last one (usage and [DONE] come later and are not in it).
    The first chunk is taken to hold one token where nothing tells how many it held. Chunks that came all together, or in clumps, say
    nothing of the time between tokens: TPOT, ITL and ICL are None.
    """

    def since_sent_ms(at_s: float | None) -> float | None:
        return None if at_s is None else (at_s - sent_at_s) * 1000

    early = Timing(ttfb_ms=since_sent_ms(first_byte_at_s), first_choice_ms=since_sent_ms(first_choice_at_s))
    if not chunks:
        return early
    stamps_s = [chunk[0] for chunk in chunks]
    ttft, e2e = (stamps_s[0] - sent_at_s) * 1000, (stamps_s[-1] - sent_at_s) * 1000
    gaps = [(after - before) * 1000 for before, after in itertools.pairwise(stamps_s)]
    ordered = sorted(gaps)
    clumps = time_between_clumps(ttft, ordered, output_tokens)
    visible_at_s = next((chunk.received_at_s for chunk in chunks if chunk.visible), None)
    whole = dataclasses.replace(early, ttft_ms=ttft, ttfvt_ms=since_sent_ms(visible_at_s), e2e_ms=e2e, clump_gap_ms=clumps)
    if clumps is not None or not ordered or ordered[-1] <= TOGETHER_MS:
        return whole
    per_chunk = chunk_tokens(chunks, output_tokens)
    one_each = per_chunk is not None and per_chunk.count(1) == len(per_chunk)
    itl = ordered if one_each else sorted(inter_token_ms(gaps, per_chunk[1:])) if per_chunk else []
    return dataclasses.replace(
        whole,
        tpot_ms=tpot_ms(ttft, e2e, output_tokens, per_chunk[0] if per_chunk else 1) if output_tokens else None,
        itl_p50_ms=quantile(itl, 0.5) if itl else None,
        itl_p99_ms=quantile(itl, 0.99) if itl else None,
        icl_p50_ms=quantile(ordered, 0.5),
        icl_p99_ms=quantile(ordered, 0.99),
    )
