"""Measures one reader at one level of load, and prints its timing error as one JSON line. Used by command."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import gc
import json
import os
import resource
import sys
import time

import gevent

from locust_kvcache.certificate.readers import READERS, Read
from locust_kvcache.certificate.timing_error import cpu_s, error_figures
from locust_kvcache.loadgen.worker.loop_lag import LagMonitor

STREAMS_EACH = 2


def measure(name: str, url: str, streams: int, tokens: int, stream_s: float) -> dict[str, float]:
    """`streams` users with two requests each, their starts spread over `stream_s`; 0: together."""
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
    figures["cpu_us_per_chunk"] = (cpu_s(after) - cpu_s(before)) / max(1.0, figures["chunks"]) * 1e6
    figures["chunks_per_s"] = figures["chunks"] / wall_s
    figures["loop_lag_worst_ms"] = lag.worst_since_ms(started_s) or 0.0
    figures["kib_per_stream"] = max(0, after.ru_maxrss - before.ru_maxrss) / streams
    return figures


if __name__ == "__main__":
    reader, address, count, tokens_each, length_s, core = sys.argv[1:]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps(measure(reader, address, int(count), int(tokens_each), float(length_s))))
