"""Recognises chunks that arrived in batches because something held them back, so that their time stamps are not those of the model."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from locust_kvcache.contract.quantile import quantile

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
