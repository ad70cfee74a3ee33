"""Computes the error of a reader's time stamps against those of the truth server."""

from __future__ import annotations

import itertools
import re
import resource

from locust_kvcache.certificate.readers import Read
from locust_kvcache.contract.quantile import quantile


def cpu_s(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def error_figures(reads: list[Read], tokens: int) -> dict[str, float]:
    """Errors in ms: a chunk's stamp minus the moment the server wrote into it, just before its write."""
    first: list[float] = []
    reported = [(read.stamps_s[0] - read.sent_at_s) * 1000 for read in reads if read.stamps_s]
    gaps: list[float] = []
    chunks = 0
    for read in reads:
        sent_s = [int(stamp) * 1e-9 for stamp in re.findall(r"\d{20}", read.text)]
        late_ms = [(ours - theirs) * 1000 for ours, theirs in zip(read.stamps_s, sent_s, strict=False)]
        chunks += len(late_ms)
        first += late_ms[:1]
        gaps += [abs(after - before) for before, after in itertools.pairwise(late_ms)]
    return {
        "ttft_error_p50_ms": quantile(first, 0.5),
        "ttft_error_p99_ms": quantile(first, 0.99),
        "itl_error_p99_ms": quantile(gaps, 0.99),
        "chunks": chunks,
        "lost_chunks": len(reads) * tokens - chunks,
        "failed_streams": sum(not read.ok for read in reads),
        "streams_read": len(reads),
        **{f"reported_ttft_p{q * 100:.0f}_ms": quantile(reported, q) for q in (0.5, 0.99)},
    }
