"""Says how long a timed round lasts, and which passes of the plan it sends: master and workers compute the same endless plan from it."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.workload.endless import endless
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause


@dataclass(frozen=True)
class TimedRound:
    """Requests begin for `round_s` seconds; what is open then ends. `fresh`: each pass of the plan has texts of its own."""

    round_s: float
    warm_up_s: float  # requests sent in these first seconds are labelled, and in no statistics
    first_pass: int = 0
    sessions: int = 0  # of each pass; 0: all of the plan
    fresh: bool = True

    def plan(self, one_pass: Plan) -> Plan:
        return endless(one_pass, self.first_pass, self.sessions, self.fresh)


def timed_due_s(arrival: Arrival, round_s: float, seed_key: str, pause: Pause = no_pause) -> array[float] | None:
    """Due time in s of each session of a timed round, those of its first `round_s` seconds; None for the closed loop."""
    if arrival.kind == "closed" or not arrival.request_rate_per_s:
        return None
    mean_s = 1 / arrival.request_rate_per_s
    if arrival.kind == "constant":
        times: Iterator[float] = (index * mean_s for index in itertools.count())
    else:
        times = itertools.accumulate(_gaps_s(arrival, mean_s, seed_key), initial=0.0)
    return array("d", in_pieces(itertools.takewhile(lambda at_s: at_s < round_s, times), pause))


def _gaps_s(arrival: Arrival, mean_s: float, seed_key: str) -> Iterator[float]:
    shape = arrival.burstiness if arrival.kind == "gamma" else 1.0
    rng = random.Random(f"{seed_key}/{arrival.draw}" if arrival.draw else seed_key)
    return (rng.gammavariate(shape, mean_s / shape) for _ in itertools.count())
