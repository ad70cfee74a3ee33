"""Computes jackknife standard errors: how far each cluster moves a statistic.

Means: delete-one-cluster jackknife. Quantiles: Woodruff (1952): the interval of the share of values below the quantile, turned into
values; its slope makes each value's influence. A side may have several values of one planned request (rounds 2..n).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.dependence import Dependence, combined
from locust_kvcache.analysis.stats.intervals import Floats, Ints, Spread


@dataclass(frozen=True)
class Side:
    """The values of one metric on one side, and the planned request (a number from 0) that each belongs to."""

    values: Floats
    unit: Ints

    @functools.cached_property
    def ordered(self) -> Floats:
        return np.sort(self.values)

    def quantile(self, q: float) -> float:
        return intervals.quantile(self.ordered, q)

    def statistic(self, name: str) -> float:
        """The mean, the median or a percentile."""
        return float(self.values.mean()) if name == "mean" else self.quantile(intervals.quantile_of(name))


def spreads(name: str, before: Side, after: Side, depends: Dependence) -> tuple[Spread, Spread] | None:
    """Of the log ratio and of the difference; None where the interval of a quantile would reach beyond the values there are."""
    groups = [*(grouping.codes for grouping in depends.groupings), np.arange(int(before.unit.max()) + 1)]
    if name == "mean":
        moved = [_left_out(before, after, codes) for codes in groups]
    else:
        influence = [quantile_influence(side, intervals.quantile_of(name), depends) for side in (before, after)]
        if influence[0] is None or influence[1] is None:
            return None
        levels = [side.statistic(name) for side in (before, after)]
        moved = [_summed(before, after, influence[0], influence[1], levels, codes) for codes in groups]
    if not all(np.isfinite(logs).all() for logs, _ in moved):
        return None
    logs, differences = ([pair[i] for pair in moved] for i in (0, 1))
    return combined(depends, logs[:-1], logs[-1]), combined(depends, differences[:-1], differences[-1])


def _left_out(before: Side, after: Side, codes: Ints) -> tuple[Floats, Floats]:
    """Per cluster: log ratio and difference of the means without it, less their mean, times sqrt((K - 1) / K)."""
    count = int(codes.max()) + 1
    means = []
    for side in (before, after):
        group = codes[side.unit]
        rest = side.values.sum() - np.bincount(group, side.values, count)
        means.append(rest / (len(group) - np.bincount(group, minlength=count)))
    scale = math.sqrt((count - 1) / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.asarray(np.log(means[1]) - np.log(means[0]), dtype=np.float64)
        moved_logs: Floats = (logs - logs.mean()) * scale
    differences = np.asarray(means[1] - means[0], dtype=np.float64)
    moved: Floats = (differences - differences.mean()) * scale
    return moved_logs, moved


def _summed(before: Side, after: Side, first: Floats, second: Floats, levels: list[float], codes: Ints) -> tuple[Floats, Floats]:
    """Per cluster: its values' influences on the log ratio and on the difference, times sqrt(K / (K - 1))."""
    count = int(codes.max()) + 1
    scale = math.sqrt(count / (count - 1))
    sums = [np.bincount(codes[side.unit], psi, count) for side, psi in ((before, first), (after, second))]
    logs = np.asarray((sums[1] / levels[1] - sums[0] / levels[0]) * scale, dtype=np.float64)
    differences = np.asarray((sums[1] - sums[0]) * scale, dtype=np.float64)
    return logs, differences


def _share_ends(side: Side, q: float, depends: Dependence) -> tuple[float, float] | None:
    """The interval of the share of values at or below the quantile: q -+ t * se, where both ends lie inside the sample."""
    below = ((side.values <= side.quantile(q)).astype(np.float64) - q) / len(side.values)
    groups = [*(grouping.codes for grouping in depends.groupings), np.arange(int(side.unit.max()) + 1)]
    sums: list[Floats] = []
    for codes in groups:
        count = int(codes.max()) + 1
        sums.append(np.asarray(np.bincount(codes[side.unit], below, count) * math.sqrt(count / (count - 1)), dtype=np.float64))
    half = intervals.half_width(combined(depends, sums[:-1], sums[-1]))
    low, high = q - half, q + half
    room = 1 / (2 * len(side.values))
    return (low, high) if half >= room and low >= room and high <= 1 - room else None  # narrower than one value is no width


def quantile_influence(side: Side, q: float, depends: Dependence) -> Floats | None:
    """Of each value on the quantile: -(1{value <= quantile} - q) / n * slope, slope = width in values / width in shares."""
    ends = _share_ends(side, q, depends)
    if ends is None:
        return None
    low, high = (side.quantile(end) for end in ends)
    slope = (high - low) / (ends[1] - ends[0])
    below = (side.values <= side.quantile(q)).astype(np.float64)
    return -(below - q) / len(side.values) * slope


def quantile_interval(side: Side, q: float, depends: Dependence) -> tuple[float, float] | None:
    """Woodruff's interval of one quantile of clustered values; None where the sample has no such ends."""
    ends = None if depends.why_not else _share_ends(side, q, depends)
    if ends is None:
        return None
    return side.quantile(ends[0]), side.quantile(ends[1])
