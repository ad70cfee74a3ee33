"""Reads how rounds end: by the number of requests, or by the clock (--round-time, and Locust's own -t)."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from locust.util.timespan import parse_timespan

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.option import number

STUDIES = ("capacity", "working_set", "gaps", "noisy_neighbour")  # each decides on its rounds itself
TOTAL = "kv_total_time_s"  # where -t is kept, so that Locust does not stop the test in mid-round


@dataclass(frozen=True)
class RoundLength:
    """`each_s` of a round, or `total_s` of all rounds of a test that has `runs` runs; neither: rounds end with their last request."""

    each_s: float | None = None
    total_s: float | None = None
    warm_up_share: float = 0.0
    runs: int = 1

    @property
    def is_timed(self) -> bool:
        return self.each_s is not None or self.total_s is not None

    def round_s(self, rounds: int) -> float | None:
        """Of each of a run's rounds."""
        return self.each_s if self.total_s is None else self.total_s / (rounds * self.runs)


def keep_run_time(parsed: Any) -> None:
    """-t without a number of requests says how long the rounds are, all together: Locust itself is not to stop the test then."""
    if parsed is None or not (parsed.headless or parsed.autostart):
        return
    if parsed.run_time and not parsed.requests and not parsed.round_time and not parsed.trace and not _study(parsed):
        setattr(parsed, TOTAL, float(parsed.run_time))
        parsed.run_time = None


def read_round_length(parsed: argparse.Namespace) -> RoundLength:
    share = number("round-warm-up", parsed.round_warm_up, float, 0)
    if share is not None and share > 0.9:
        raise BadInput(f"--round-warm-up is {share:g}; expected a share of the round's time from 0 to 0.9, such as 0.1")
    total_s, each_s = getattr(parsed, TOTAL, None), _seconds(parsed.round_time)
    if each_s is not None:
        _check(parsed, each_s)
    runs = max(1, len(parsed.concurrency or ())) * (number("repeat", parsed.repeat, int, 1) or 1)
    return RoundLength(each_s, total_s if each_s is None else None, 0.1 if share is None else share, runs)


def _seconds(given: Any) -> float | None:
    if not given:
        return None
    try:
        seconds = float(parse_timespan(str(given)))
    except ValueError:
        seconds = 0.0
    if seconds < 1:
        raise BadInput(f"--round-time is {given!r}; expected a time of at least 1 s, such as 300, 90s, 5m or 1h30m")
    return seconds


def _study(parsed: Any) -> str:
    return next((name for name in STUDIES if getattr(parsed, name)), "")


def _check(parsed: argparse.Namespace, each_s: float) -> None:
    """What ends a round in another way, or decides on it."""
    if study := _study(parsed):
        raise BadInput(f"--{study.replace('_', '-')} decides its rounds itself; leave --round-time out")
    if parsed.trace:
        raise BadInput("--trace has times of its own; choose a part of it with --trace-window, and leave --round-time out")
    limit_s = number("round-timeout", parsed.round_timeout, float, 0.001)
    if limit_s is not None and limit_s <= each_s:
        raise BadInput(
            f"--round-timeout is {limit_s:g} s and --round-time {each_s:g} s: no round could end; give a longer limit, or leave it out"
        )
