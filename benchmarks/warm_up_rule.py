"""python -m benchmarks.warm_up_rule: the warm-up's rule against simulated servers whose warming up is known; no server, no clock.

Prints, for each way to warm up and each spread of the times, the requests that are sent and the excess that is left in round 1: the mean
of the first third of 30 requests over that of the last third.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable

from locust_kvcache.workload.warm_up import AGAIN, AUTO, FRESH, WarmUp, Window

SIZE = 8
ROUND = 30
STEADY_MS = 100.0
SERVERS: dict[str, Callable[[int], float]] = {
    "steady at once": lambda n: 1.0,
    "4 slow requests": lambda n: 2.0 if n < 4 else 1.0,
    "24 slow requests": lambda n: 2.0 if n < 24 else 1.0,
    "40 slow requests": lambda n: 2.0 if n < 40 else 1.0,
    "64 slow requests": lambda n: 2.0 if n < 64 else 1.0,
    "1/e in 10 requests": lambda n: 1.0 + math.exp(-n / 10),
    "1/e in 40 requests": lambda n: 1.0 + math.exp(-n / 40),
}


def simulate(effect: Callable[[int], float], spread: dict[str, float], repeats: bool, rng: random.Random) -> tuple[int, float]:
    """(requests of the warm-up, excess left in round 1)."""
    warm_up = WarmUp("simulated", AUTO, repeats)
    while warm_up.ended is None:
        sent, kind = warm_up.requests, warm_up.next_kind
        times = tuple(STEADY_MS * effect(sent + k) * math.exp(rng.gauss(0, spread[kind])) for k in range(SIZE))
        warm_up.add(Window(kind, 1.0, times))
    left = [effect(warm_up.requests + k) for k in range(ROUND)]
    third = ROUND // 3
    return warm_up.requests, statistics.mean(left[:third]) / statistics.mean(left[-third:]) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    for repeats in (True, False):
        print(f"\nwindows of {SIZE}, {'with' if repeats else 'without'} rounds that hit: requests sent (excess left in round 1)")
        print(
            f"{'':22}" + "".join(f"{f'spread {spread:.0%}':>18}" for spread in (0.05, 0.15, 0.3)) + f"{'hits 35, fresh 4 %':>20}"
        )
        for name, effect in SERVERS.items():
            cells = []
            for spread, of_hits in ((0.05, 0.05), (0.15, 0.15), (0.3, 0.3), (0.04, 0.35)):
                rng = random.Random(f"{name}/{spread}/{repeats}")
                found = [simulate(effect, {FRESH: spread, AGAIN: of_hits}, repeats, rng) for _ in range(runs)]
                sent, excess = (statistics.mean(part) for part in zip(*found, strict=True))
                cells.append(f"{f'{sent:.0f} ({excess:.0%})':>18}")
            print(f"{name:22}" + "".join(cells))


if __name__ == "__main__":
    main()
