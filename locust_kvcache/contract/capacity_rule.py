"""Decides whether a load was sustained, and which load a capacity search tries next.

Pure functions: the load generator drives a search by them, the analysis judges the same records by them again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from locust_kvcache.contract.quantile import quantile
from locust_kvcache.contract.record import OK

BLOCKS = 10  # of a step, in order of time; the first two fill the queue and are left out
FILLING = 2
MIN_STEADY = 40  # requests, below which blocks are too small to show a trend, and all count
LARGEST_DRIFT = 0.01  # the server may fall behind by 1 % of the time
LEAST_TAU = 0.57  # of 8 block medians: p = 0.03 one-sided by Kendall's tau


@dataclass(frozen=True)
class Sample:
    """One request of a step. Times count from the intended start: who waits for a free user waits as well."""

    due_s: float
    ok: bool
    lag_ms: float
    times: dict[str, float | None]


@dataclass(frozen=True)
class Judgement:
    """`percentiles` are None where so many requests failed that the percentile is none of a success."""

    sustained: bool
    why: str
    percentiles: dict[str, float | None]
    drift: float | None  # seconds by which the server falls behind per second; None: too few requests
    late: float  # share of the requests beyond a limit, of the limit with most of them; 1 where the queue grows
    short_of_users: bool  # sustained as sent, not as intended: the load generator's users were all busy


def sample_of(row: Mapping[str, Any]) -> Sample | None:
    """A record's line; None where it was never sent."""
    due_s = row.get("scheduled_at_s") or row.get("started_at_s")
    if due_s is None:
        return None
    return Sample(
        due_s, row["status"] == OK, row.get("schedule_lag_ms") or 0.0, {n: row[n] for n in ("ttft_ms", "tpot_ms", "e2e_ms")}
    )


def counted(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Without those that filled the queue, as it was empty when the step began."""
    if len(samples) < MIN_STEADY:
        return samples
    return sorted(samples, key=lambda sample: sample.due_s)[round(len(samples) * FILLING / BLOCKS) :]


def _value(sample: Sample, name: str, from_intended: bool) -> float:
    """A failed request took for ever; an answer of one token has no TPOT and is not held to it."""
    value = sample.times[name]
    if not sample.ok or (value is None and name != "tpot_ms"):
        return math.inf
    lag_ms = sample.lag_ms if from_intended and name != "tpot_ms" else 0.0
    return lag_ms + (value or 0.0)


def percentile_of(samples: Sequence[Sample], name: str, share: float, from_intended: bool = True) -> float | None:
    values = sorted(_value(sample, name, from_intended) for sample in samples)
    needed = values[: math.floor(share * (len(values) - 1)) + 2]
    return quantile(values, share) if values and all(map(math.isfinite, needed)) else None


def drift_of(samples: Sequence[Sample], from_intended: bool = True) -> float | None:
    """Of all of a step: Theil-Sen slope of the TTFT's block medians over time, s per s; 0.0 where they show no trend (Kendall's tau)."""
    good = sorted((s for s in samples if s.ok and s.times["ttft_ms"] is not None), key=lambda sample: sample.due_s)
    if len(good) < MIN_STEADY:
        return None
    size = len(good) / BLOCKS
    blocks = [good[round(i * size) : round((i + 1) * size)] for i in range(FILLING, BLOCKS)]
    points = [
        (statistics.median(s.due_s for s in block), statistics.median(_value(s, "ttft_ms", from_intended) for s in block) / 1000)
        for block in blocks
    ]
    pairs = [(b[1] - a[1], b[0] - a[0]) for a, b in combinations(points, 2)]
    tau = sum((rise > 0) - (rise < 0) for rise, _ in pairs) / len(pairs)
    slopes = [rise / run for rise, run in pairs if run > 0]
    return statistics.median(slopes) if slopes and abs(tau) >= LEAST_TAU else 0.0


def _failings(samples: Sequence[Sample], slo: Mapping[str, float], share: float, from_intended: bool) -> list[str]:
    found, steady = [], counted(samples)
    for name, limit in slo.items():
        value = percentile_of(steady, name, share, from_intended)
        what = f"{name.removesuffix('_ms').upper()} p{share * 100:g}"
        if value is None:
            found.append(f"{what} is that of a failed request")
        elif value > limit:
            found.append(f"{what} {value:,.0f} ms, limit {limit:,.0f}")
    drift = drift_of(samples, from_intended)
    if drift is not None and drift > LARGEST_DRIFT:
        found.append(f"not steady: the TTFT grows by {drift * 1000:,.0f} ms per second")
    return found


def judge(samples: Sequence[Sample], slo: Mapping[str, float], share: float = 0.9) -> Judgement:
    """Sustained: `share` of the counted requests within each limit of `slo`, from their intended start, and no growing queue."""
    failings = _failings(samples, slo, share, True) if samples else ["nothing was sent"]
    steady, drift = counted(samples), drift_of(samples)
    percentiles = {name: percentile_of(steady, name, share) for name in slo}
    short = bool(failings and samples) and not _failings(samples, slo, share, False)
    why = "; ".join(failings) or ", ".join(
        f"{name.removesuffix('_ms').upper()} p{share * 100:g} {value:,.0f} ms"
        for name, value in percentiles.items()
        if value is not None
    )
    return Judgement(not failings, why, percentiles, drift, _late(steady, slo, drift), short)


def _late(samples: Sequence[Sample], slo: Mapping[str, float], drift: float | None) -> float:
    if not samples or (drift is not None and drift > LARGEST_DRIFT):
        return 1.0
    return max(
        (sum(_value(sample, name, True) > limit for sample in samples) / len(samples) for name, limit in slo.items()), default=0.0
    )


@dataclass(frozen=True)
class Measured:
    """One step of a search: sessions per second, or users."""

    level: float
    sustained: bool


@dataclass(frozen=True)
class Search:
    """How far a search goes. `whole`: levels are users, not rates."""

    start: float
    tolerance: float = 0.05  # of the bracket: its upper end over its lower end, less 1
    repeats: int = 3  # measurements that must agree at each end, each with arrivals of its own
    most_steps: int = 24
    whole: bool = False

    def down(self, level: float) -> float:
        return max(1.0, math.floor(level)) if self.whole else level

    def up(self, level: float) -> float:
        return math.ceil(level) if self.whole else level


@dataclass(frozen=True)
class Bounds:
    """`low`: all steps at or below it were sustained; `high`: none at or above it was. None where no step bounds it from that side."""

    low: float | None
    high: float | None


def _votes(steps: Sequence[Measured]) -> dict[float, list[bool]]:
    votes: dict[float, list[bool]] = {}
    for step in sorted(steps, key=lambda step: step.level):
        votes.setdefault(step.level, []).append(step.sustained)
    return votes


def bracket(steps: Sequence[Measured]) -> tuple[float | None, float | None]:
    """(highest level sustained by most of its measurements, lowest above which is not); sustaining is taken to be monotone: a level
    above one that is not sustained is not, whatever was seen there. A tie is not sustained."""
    votes = _votes(steps)
    failed = [level for level, seen in votes.items() if sum(seen) * 2 <= len(seen)]
    high = min(failed, default=None)
    return max((level for level in votes if high is None or level < high), default=None), high


def next_level(steps: Sequence[Measured], search: Search) -> float | None:
    """Widen until there is a bracket, halve it (on a log scale) down to the tolerance, then measure outwards until the wanted number of
    measurements agree at both ends; None: done."""
    if not steps:
        return search.up(search.start)
    if len(steps) >= search.most_steps:
        return None
    low, high = bracket(steps)
    votes = _votes(steps)
    bounded = len({step.sustained for step in steps}) > 1  # near the knee already: its measurements contradict one another
    factor = 1.25 if bounded else min(4.0, 1.25 ** (2 ** min(3, len(votes) - 1)))
    if low is None:
        return _unless_done(votes, min(votes), search.down(min(votes) / factor), search)
    if high is None:
        return search.up(max(votes) * factor)
    if high / low > 1 + search.tolerance and not (search.whole and high - low <= 1):
        return search.down(max(math.sqrt(low * high), low + 1 if search.whole else 0.0))
    return _next_at_an_end(votes, low, search, lower=True) or _next_at_an_end(votes, high, search, lower=False)


def _unless_done(votes: Mapping[float, list[bool]], end: float, further: float, search: Search) -> float | None:
    """One user is the fewest: there the search stays until it has measured often enough."""
    if further != end:
        return further
    return end if len(votes[end]) < search.repeats else None


def _next_at_an_end(votes: Mapping[float, list[bool]], end: float, search: Search, lower: bool) -> float | None:
    """Measure an end again; where its measurements contradict one another go outwards, to a level at which they agree."""
    outwards = sorted((level for level in votes if (level <= end if lower else level >= end)), reverse=lower)
    for level in outwards:
        if votes[level].count(not lower):
            continue  # seen otherwise: not the end of the interval
        return level if len(votes[level]) < search.repeats else None
    step, last = 1 + search.tolerance, outwards[-1]
    return _unless_done(votes, last, search.down(last / step) if lower else search.up(last * step), search)


def bounds_of(steps: Sequence[Measured]) -> Bounds:
    failed = [step.level for step in steps if not step.sustained]
    passed = [step.level for step in steps if step.sustained]
    low = max((level for level in passed if level < min(failed, default=math.inf)), default=None)
    high = min((level for level in failed if level > max(passed, default=0.0)), default=None)
    return Bounds(low, high)
