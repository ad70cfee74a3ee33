"""Computes the times of one request from the stamps of its chunks: TTFT, TPOT, ITL, ICL and E2E in ms (docs/metrics.md)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from locust_kvcache.contract.clumps import TOGETHER_MS, time_between_clumps
from locust_kvcache.contract.quantile import quantile


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
