"""Decides whether the client's own delay could have moved the times of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from locust_kvcache.contract.stream_times import OutputChunk

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
