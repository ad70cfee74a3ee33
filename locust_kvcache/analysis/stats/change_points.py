"""Finds when a figure changed within a round: change points with their interval, in means of equal times.

Each segment is tested by the largest CUSUM of its values (a supremum of a Brownian bridge under no change). Its scale is the long-run
standard deviation of what is left around the best split, with the correlation of neighbours (first-order) added: a queue makes
neighbours alike, which is no change. Intervals: Bai (1997), Estimation of a change point in multiple regression models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from locust_kvcache.analysis.stats.intervals import Floats, Ints

ALPHA = 0.001  # of a change; false alarms of a whole series stay below 5 %, also where neighbours are alike (tests)
LEAST_VALUES = 60
SHORTEST = 4  # values on each side of a change
MOST_CHANGES = 5
BAI_95 = 11.03  # 97.5 % quantile of the argmax of a two-sided Brownian motion less its drift
MOST_ALIKE = 0.9
ROUNDING = 1e-9  # of the values: less is no step


@dataclass(frozen=True)
class Change:
    """Between two values, at `place` (the first one after it); `low` and `high` hold the true place with 95 %."""

    place: int
    low: int
    high: int
    before: float
    after: float
    p: float


def changes(values: Sequence[float] | Floats) -> list[Change]:
    """In order of time; none where there are too few values. `before` and `after` are the means of the neighbouring segments."""
    series = np.asarray(values, dtype=np.float64)
    if len(series) < LEAST_VALUES:
        return []
    found = _kept(series)
    ends = [0, *(place for place, _ in found), len(series)]
    return [_change(series, ends[number : number + 3], p) for number, (_, p) in enumerate(found)]


def _kept(series: Floats) -> list[tuple[int, float]]:
    """(place, p) of the changes that stand: from the best MOST_CHANGES the least certain goes, until each that is left is certain between
    its neighbours. A fall and the recovery after it hide each other from a test of one change alone."""
    places = best_places(series, min(MOST_CHANGES, len(series) // (2 * SHORTEST) - 1))
    while places:
        ends = [0, *places, len(series)]
        tested = [best_split(series[ends[k] : ends[k + 2]]) for k in range(len(places))]
        worst = max(range(len(places)), key=lambda k: tested[k][1])
        if tested[worst][1] < ALPHA:
            return [(ends[k] + place, p) for k, (place, p) in enumerate(tested)]
        del places[worst]
    return []


def best_places(series: Floats, count: int) -> list[int]:
    """The `count` places that leave the least squares around the means between them (dynamic programming over all of them)."""
    size = len(series)
    sums, squares = np.concatenate([[0.0], np.cumsum(series)]), np.concatenate([[0.0], np.cumsum(series**2)])
    begin, end = np.arange(size + 1)[:, None], np.arange(size + 1)[None, :]
    length = end - begin
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = squares[None, :] - squares[:, None] - (sums[None, :] - sums[:, None]) ** 2 / length
    cost = np.where(length >= SHORTEST, cost, np.inf)
    total, chosen = cost[0], list[Ints]()
    for _ in range(count):
        options = total[:, None] + cost
        chosen.append(np.argmin(options, axis=0))
        total = options.min(axis=0)
    places, at = list[int](), size
    for last in reversed(chosen):
        at = int(last[at])
        places.append(at)
    return places[::-1]


def best_split(part: Floats) -> tuple[int, float]:
    """Where a segment splits best, and the p-value of its CUSUM."""
    count = len(part)
    sums = np.abs(np.cumsum(part - part.mean()))[:-1]
    inner = sums[SHORTEST - 1 : count - SHORTEST]
    place = SHORTEST + int(np.argmax(inner))
    scale = long_run_sd(part, place)
    if scale == 0:
        step = abs(float(part[:place].mean() - part[place:].mean()))
        return place, 0.0 if step > ROUNDING * float(np.abs(part).max()) else 1.0
    return place, float(special.kolmogorov(inner.max() / (scale * math.sqrt(count))))


def long_run_sd(part: Floats, place: int) -> float:
    """Of the values around the means of both sides of a split."""
    rest = np.concatenate([part[:place] - part[:place].mean(), part[place:] - part[place:].mean()])
    variance = float((rest**2).sum()) / max(1, len(rest) - 2)
    if variance <= 1e-24 * max(1.0, float(np.abs(part).max()) ** 2):
        return 0.0
    bias = 3 / len(rest)  # of two means, and of a split that was chosen
    alike = float((rest[1:] * rest[:-1]).sum()) / float((rest**2).sum()) + bias
    alike = min(max(alike, 0.0), MOST_ALIKE)
    return math.sqrt(variance * (1 + alike) / (1 - alike))


def _change(series: Floats, ends: list[int], p: float) -> Change:
    begin, place, end = ends
    before, after = float(series[begin:place].mean()), float(series[place:end].mean())
    scale = long_run_sd(series[begin:end], place - begin)
    reach = math.floor(BAI_95 * (scale / (after - before)) ** 2) + 1 if after != before else len(series)
    return Change(place, max(begin, place - reach), min(end, place + reach), before, after, p)
