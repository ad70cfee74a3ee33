"""python -m benchmarks.capacity_coverage: how often the interval of a --capacity search holds the truth, on simulated queues.

Poisson arrivals at one or more servers that serve in order of arrival; the truth is the rate at which 10 % of the requests exceed the
limit in the long run. The product's own functions choose the rates, judge the steps and print the capacity.
"""

from __future__ import annotations

import argparse
import heapq
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from locust_kvcache.analysis.across_runs.capacity_steps import RATE, Capacity, Step, found_capacity
from locust_kvcache.analysis.stats.intervals import Floats
from locust_kvcache.contract.capacity_rule import Measured, Sample, Search, judge, next_level

SERVICE_S = 0.25
SHARE = 0.9
LONG = 4_000_000  # requests of a simulation that stands for the long run (a tenth of it with several servers)


@dataclass(frozen=True)
class Queue:
    """`limit` of the TTFT in mean services; `spread`: sigma of log-normal services, 0 for constant ones."""

    name: str
    limit: float
    spread: float = 0.0
    servers: int = 1

    @property
    def slo(self) -> dict[str, float]:
        return {"ttft_ms": 1000 * self.limit * SERVICE_S}


QUEUES = (
    Queue("equal prompts", 3),
    Queue("equal prompts", 8),
    Queue("equal prompts", 20),
    Queue("prompts vary (sigma 0.5)", 8, spread=0.5),
    Queue("prompts vary (sigma 1)", 8, spread=1.0),
    Queue("4 servers", 8, servers=4),
)


def ttft_s(queue: Queue, rate: float, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(arrivals, TTFT) of so many requests from an empty queue on; a service takes SERVICE_S x servers on average."""
    at = np.concatenate([[0.0], rng.exponential(1 / rate, count - 1).cumsum()])
    takes = SERVICE_S * queue.servers * np.exp(rng.normal(-(queue.spread**2) / 2, queue.spread, count))
    if queue.servers == 1:
        done = takes.cumsum()
        return at, done + np.maximum.accumulate(at - (done - takes)) - at
    free, found = [0.0] * queue.servers, np.empty(count)
    for index, (arrived, seconds) in enumerate(zip(at.tolist(), takes.tolist(), strict=True)):
        end = max(free[0], arrived) + seconds
        heapq.heapreplace(free, end)
        found[index] = end - arrived
    return at, found


def truth_of(queue: Queue) -> float:
    """Sessions per second at which one in ten is late in the long run."""
    low, high, count = 0.1 / SERVICE_S, 1 / SERVICE_S, LONG if queue.servers == 1 else LONG // 10
    for _ in range(12):
        middle = (low + high) / 2
        _, times = ttft_s(queue, middle, count, np.random.default_rng(1))
        low, high = (middle, high) if float((times > queue.limit * SERVICE_S).mean()) <= 1 - SHARE else (low, middle)
    return (low + high) / 2


def measured(queue: Queue, rate: float, requests: int, rng: np.random.Generator) -> Step:
    at, times = ttft_s(queue, rate, requests, rng)
    samples = [
        Sample(due_s, True, 0.0, {"ttft_ms": 1000 * seconds, "tpot_ms": None, "e2e_ms": 1000 * seconds})
        for due_s, seconds in zip(at.tolist(), times.tolist(), strict=True)
    ]
    return Step("s", "d", None, "cold", "poisson", rate, RATE, judge(samples, queue.slo, SHARE), requests, None, 0.0, 60.0, None)


def search(queue: Queue, requests: int, start: float, seed: int) -> Capacity:
    """One whole search, as the product makes and judges it."""
    rng, steps = np.random.default_rng(seed), list[Step]()
    while (rate := next_level([Measured(step.level, step.found.sustained) for step in steps], Search(start))) is not None:
        steps.append(measured(queue, rate, requests, rng))
    return found_capacity(steps, queue.slo, SHARE)


def row_of(queue: Queue, truth: float, requests: int, searches: int) -> str:
    """Starts lie between 0.4 and 1.2 of the truth."""
    found = [search(queue, requests, truth * (0.4 + seed % 7 / 7.5), seed) for seed in range(searches)]
    off = [math.log(one.value / truth) for one in found if one.value]
    printed = [(one.low / truth, one.high / truth) for one in found if one.low is not None and one.high is not None]
    covered = sum(low <= 1 <= high for low, high in printed)
    if len(printed) < searches / 10:
        told = "none | none"
    else:
        ends = " to ".join(f"{100 * (statistics.median(side) - 1):+.0f}" for side in zip(*printed, strict=True))
        share = "" if len(printed) == searches else f" ({100 * len(printed) / searches:.0f} %)"
        told = f"{100 * covered / len(printed):.0f}{share} | {ends} %"
    steps = statistics.mean(one.steps for one in found)
    return (
        f"| {queue.name} | {queue.limit:g} | {requests} | {100 * statistics.mean(off):+.1f} % | {100 * statistics.stdev(off):.1f} % "
        f"| {told} | {steps:.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_coverage", description=__doc__)
    parser.add_argument("--searches", type=int, default=200, help="of each row (default: 200)")
    args = parser.parse_args(arguments)
    print(
        "| queue | limit, services | requests per step | value off by | its scatter | coverage, % | interval | steps |\n|"
        + "---|" * 8
    )
    for queue in QUEUES:
        truth = truth_of(queue)
        for requests in (200, 400, 1000):
            print(row_of(queue, truth, requests, args.searches), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
