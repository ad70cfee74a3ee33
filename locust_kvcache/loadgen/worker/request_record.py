"""Makes the Record of a planned request from the plan, the outcome and the clocks.

Nothing that goes wrong here may cost a request its record, or the round could never end: an exception becomes a record of status
`internal_error`, and its traceback is logged once (logged_once.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locust_kvcache.contract.clumps import was_buffered
from locust_kvcache.contract.deployment import ENGINE_HEADERS
from locust_kvcache.contract.late_stamps import client_was_limited, first_stamp_uncertain_ms
from locust_kvcache.contract.record import INTERNAL_ERROR, OK, Record
from locust_kvcache.contract.stream_times import OutputChunk, Timing, stream_timing
from locust_kvcache.loadgen.client.framing import Response
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.turn import Turn


def _planned(work: Assignment, turn: Turn, worker: str) -> dict[str, Any]:
    """What is known of a request before it is sent."""
    config = work.share.config
    return {
        "run_id": config.run_id,
        "deployment": config.deployment,
        "model": config.model,
        "scenario": work.share.scenario,
        "round": work.share.number,
        "round_kind": work.share.kind,
        "request_index": turn.request_index,
        "session_id": turn.session_id,
        "turn": turn.number,
        "worker": worker,
        "planned_prompt_tokens": turn.prompt_tokens,
        "planned_output_tokens": work.share.prepared.asked_tokens(turn),
        "shares_prefix_with": turn.shares_prefix_with,
        "planned_wait_ms": turn.wait_s * 1000 if turn.number > 1 else None,
        **work.share.prepared.labels(turn),
    }


def internal_error_record(work: Assignment, turn: Turn, worker: str, error: str) -> Record:
    """The record of a request of which nothing else can be said. A text that cannot be written is written as it can be."""
    return Record(**_planned(work, turn, worker), status=INTERNAL_ERROR, error=error.encode("utf-8", "replace").decode())


def make_record(
    work: Assignment,
    turn: Turn,
    worker: str,
    outcome: StreamOutcome,
    started_at_s: float,
    loop_lag_ms: float | None,
    ended_s: float,
) -> Record:
    """The record of a request that came to some end. `started_at_s`: when it was sent, by the master's wall clock. `ended_s`: monotonic."""
    config, response, reader = work.share.config, outcome.response, outcome.reader
    chunks = outcome.chunks
    timing = stream_timing(response.sent_at_s, response.first_byte_at_s, reader.first_choice_at_s, chunks, reader.output_tokens)
    return Record(
        **_planned(work, turn, worker),
        **_sending(work, turn, response, started_at_s),
        status=outcome.status,
        error=outcome.error,
        http_status=response.http_status,
        finish_reason=reader.finish_reason,
        prompt_tokens=reader.prompt_tokens,
        output_tokens=reader.output_tokens,
        planned_cached_tokens=work.share.prepared.planned_cached(
            work.session, turn, work.share.number, work.share.repeats, reader.prompt_tokens, config.block_size_tokens
        ),
        reported_cached_tokens=_cached_tokens(outcome, config.zero_cached_if_missing),
        usage_rejected=reader.counts.rejected,
        end_missing=outcome.end_missing if outcome.status == OK else None,
        ttfb_ms=timing.ttfb_ms,
        first_choice_ms=timing.first_choice_ms,
        ttft_ms=timing.ttft_ms,
        ttfvt_ms=timing.ttfvt_ms,
        tpot_ms=timing.tpot_ms,
        e2e_ms=timing.e2e_ms,
        itl_p50_ms=timing.itl_p50_ms,
        itl_p99_ms=timing.itl_p99_ms,
        icl_p50_ms=timing.icl_p50_ms,
        icl_p99_ms=timing.icl_p99_ms,
        chunks=len(reader.log),
        response_bytes=response.body_bytes,
        engine=_engine(response.headers, config.transport.engine_header),
        **_doubts(response, chunks, timing, loop_lag_ms),
        phase=work.share.phase(response.sent_at_s or ended_s, ended_s),
    )


def _sending(work: Assignment, turn: Turn, response: Response, started_at_s: float) -> dict[str, Any]:
    """When it was sent, and how; what was not sent has no times."""
    if not response.sent_at_s:
        return {"connect_ms": response.connect_ms}
    lag_ms = None if work.due_s is None or turn.number > 1 else (response.sent_at_s - work.due_s) * 1000
    return {
        "started_at_s": started_at_s,
        "scheduled_at_s": started_at_s - lag_ms / 1000 if lag_ms is not None else None,
        "schedule_lag_ms": lag_ms,
        "connect_ms": response.connect_ms,
        "reconnected": response.reconnected,
    }


def _doubts(response: Response, chunks: Sequence[OutputChunk], timing: Timing, loop_lag_ms: float | None) -> dict[str, Any]:
    """Who stamped the chunks, and what could have moved the times: this client, or something on the way."""
    clock = "kernel" if response.kernel_stamps else "process"
    uncertain_ms = first_stamp_uncertain_ms(clock, chunks, response.unseen_s)
    buffered = was_buffered(timing.clump_gap_ms, loop_lag_ms)
    limited = client_was_limited(clock, loop_lag_ms, timing.ttft_ms, timing.icl_p50_ms, uncertain_ms)
    return {
        "clock": clock,
        "loop_lag_ms": loop_lag_ms,
        "client_limited": True if timing.clump_gap_ms is not None and not buffered else limited,
        "ttft_uncertain_ms": uncertain_ms,
        "buffered": buffered if timing.ttft_ms is not None else None,
    }


def _engine(headers: Mapping[str, str], named: str) -> str | None:
    """The engine that answered, by the header that the deployment file names, else by one of those that are known."""
    found = next((headers[name] for name in ([named] if named else ENGINE_HEADERS) if headers.get(name)), "")
    return found[:200].encode("utf-8", "replace").decode() or None


def _cached_tokens(outcome: StreamOutcome, zero_if_missing: bool) -> int | None:
    """As reported; 0 where the server leaves a 0 out, but never where its counts were rejected."""
    reader = outcome.reader
    if reader.cached_tokens is None and reader.prompt_tokens is not None and not reader.counts.rejected and zero_if_missing:
        return 0
    return reader.cached_tokens
