"""One reader at one level of load, in a process of its own: prints its timing error as one JSON line. Used by command."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import gc
import itertools
import json
import os
import re
import resource
import sys
import time

import gevent

from locust_kvcache.certificate.readers import READERS, Read
from locust_kvcache.contract.record import quantile
from locust_kvcache.loadgen.worker.loop_lag import LagMonitor

STREAMS_EACH = 2


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


def measure(name: str, url: str, streams: int, tokens: int, stream_s: float) -> dict[str, float]:
    """`streams` users with two requests each, their starts spread over one stream's length."""
    reads: list[Read] = []
    lag = LagMonitor()

    def user(index: int) -> None:
        gevent.sleep(stream_s * index / streams)
        read = READERS[name](url)
        for _ in range(STREAMS_EACH):
            reads.append(read())

    gc.collect()
    gc.freeze()
    gc.disable()  # as a worker does while a round is under way; it favours the baseline as well
    lag.start()
    before, started_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    gevent.joinall([gevent.spawn(user, index) for index in range(streams)])
    wall_s, after = time.monotonic() - started_s, resource.getrusage(resource.RUSAGE_SELF)
    figures = error_figures(reads, tokens)
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    figures["cpu_us_per_chunk"] = cpu_s / max(1.0, figures["chunks"]) * 1e6
    figures["chunks_per_s"] = figures["chunks"] / wall_s
    figures["loop_lag_worst_ms"] = lag.worst_since_ms(started_s) or 0.0
    figures["kib_per_stream"] = max(0, after.ru_maxrss - before.ru_maxrss) / streams
    return figures


if __name__ == "__main__":
    reader, address, count, tokens_each, length_s, core = sys.argv[1:]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps(measure(reader, address, int(count), int(tokens_each), float(length_s))))
