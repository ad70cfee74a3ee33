"""Reads the options for how much load there is and how it comes: users, levels, arrivals, rate, waits between turns."""

from __future__ import annotations

import argparse
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.declared import ARRIVALS
from locust_kvcache.loadgen.options.option import number, words
from locust_kvcache.workload.waits import Gaps

SLOW_START_S = 20.0


def check_users(users: object, spawn_rate: object) -> None:
    """Locust's own -u and -r, which it takes as they are."""
    number("users", str(users) if users is not None else None, int, 1)
    number("spawn-rate", str(spawn_rate) if spawn_rate is not None else None, float, 1e-6)


def slow_start_text(users: int | None, spawn_rate: float | None) -> str | None:
    """What to say where Locust takes long to start the users, as nothing is sent before all are there; None where it does not."""
    count, rate = users or 1, spawn_rate or 1.0  # Locust's defaults
    if count / rate <= SLOW_START_S:
        return None
    return f"starting {count:,} users at {rate:g} a second takes {count / rate:,.0f} s; -r {min(count, 100)} starts them sooner"


def read_levels(parsed: argparse.Namespace) -> tuple[int, ...]:
    levels = tuple(number("concurrency", word, int, 1) for word in words(parsed.concurrency))
    if len(set(levels)) < len(levels):
        raise BadInput(f"--concurrency names a level twice: {' '.join(map(str, levels))}; name each once")
    if levels and parsed.arrival != "closed":
        raise BadInput(f"--concurrency is for --arrival closed; with {parsed.arrival} the load is --request-rate")
    if levels and parsed.resume:
        raise BadInput("--resume goes on with one run: give it without --concurrency, with -u as that run's level was")
    return levels


def read_request_rate(parsed: argparse.Namespace) -> float | None:
    """Session starts per second; None in a closed loop."""
    if parsed.arrival not in ARRIVALS:
        raise BadInput(f"--arrival is {parsed.arrival!r}; allowed: {', '.join(ARRIVALS)}")
    rate: float | None = number("request-rate", parsed.request_rate, float, 1e-6)
    if parsed.arrival != "closed" and rate is None and not parsed.capacity:
        raise BadInput(f"--arrival {parsed.arrival} needs --request-rate (session starts per second, over all workers)")
    _check_arrival(parsed, rate)
    return rate


def _check_arrival(parsed: argparse.Namespace, rate: float | None) -> None:
    """Options that another one makes say nothing are refused: the load would not be the one that was meant."""
    if rate is not None and parsed.arrival == "closed" and not parsed.capacity and not parsed.noisy_neighbour:
        raise BadInput(
            f"--request-rate is {rate:g} and --arrival is closed, where users send as fast as they are answered; add --arrival constant, "
            "poisson or gamma"
        )
    burstiness = number("burstiness", parsed.burstiness, float, 1e-6)
    if burstiness not in (None, 1.0) and parsed.arrival != "gamma":
        raise BadInput(f"--burstiness is {burstiness:g} and --arrival is {parsed.arrival}; it shapes --arrival gamma alone")


def read_gaps(parsed: Any) -> Gaps:
    scale = number("gap-scale", parsed.gap_scale, float, 0)
    return Gaps(1.0 if scale is None else scale, number("max-gap", parsed.max_gap, float, 0))
