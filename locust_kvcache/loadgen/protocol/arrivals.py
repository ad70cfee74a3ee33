"""Computes when each session of an open loop is due, in seconds after the round's start.

The schedule is one function of (seed, scenario), the same in every round, so that pairs of requests met the same queue. All workers compute
the same one and send the sessions they were dealt, so the rate is global by construction.
"""

from __future__ import annotations

import itertools
import random
from array import array
from dataclasses import dataclass

from locust_kvcache.workload.mixed_sessions import MixedSessions
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.warm_up import window_sessions


@dataclass(frozen=True)
class Arrival:
    kind: str  # closed | constant | poisson | gamma | trace (the plan's own due times)
    request_rate_per_s: float | None
    burstiness: float  # gamma shape; 1 is Poisson
    draw: int = 0  # another schedule of the same process


def due_times_s(arrival: Arrival, sessions: int, seed_key: str, pause: Pause = no_pause) -> array[float] | None:
    """Due time in s of each session, in plan order; None for the closed loop, where a session is due when a user is free.

    Gamma gaps have shape `burstiness` and mean 1/rate, so the variance of a gap is 1 / (rate^2 * burstiness).
    """
    if arrival.kind == "closed" or not arrival.request_rate_per_s:
        return None
    mean_gap_s = 1 / arrival.request_rate_per_s
    if arrival.kind == "constant":
        return array("d", (index * mean_gap_s for index in in_pieces(range(sessions), pause)))
    shape = arrival.burstiness if arrival.kind == "gamma" else 1.0
    rng = random.Random(f"{seed_key}/{arrival.draw}" if arrival.draw else seed_key)
    gaps = (rng.gammavariate(shape, mean_gap_s / shape) for _ in in_pieces(range(sessions - 1), pause))
    return array("d", itertools.islice(itertools.accumulate(gaps, initial=0.0), sessions))


def plan_due_s(arrival: Arrival, plan: Plan, seed_key: str, pause: Pause = no_pause) -> array[float] | None:
    """Due time in s of each session of a plan. One tenant alone keeps the times that it has in the mix."""
    sessions = plan.sessions
    if not isinstance(sessions, MixedSessions):
        return due_times_s(arrival, len(sessions), seed_key, pause)
    times = due_times_s(arrival, sessions.everywhere, seed_key, pause)
    return None if times is None else array("d", (times[position] for position in sessions.positions))


def window_due_s(arrival: Arrival, plan: Plan, seed_key: str) -> array[float] | None:
    """Due time in s of each session of a warm-up's window, by session id; None for the closed loop. Other sessions are not sent."""
    sessions = window_sessions(plan, None)
    times = due_times_s(arrival, len(sessions), seed_key)
    if times is None:
        return None
    due_s = array("d", bytes(8 * len(plan.sessions)))
    for session, at_s in zip(sessions, times, strict=True):
        due_s[session] = at_s
    return due_s
