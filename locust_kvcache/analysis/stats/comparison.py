"""Compares the same planned requests under two conditions: effects with intervals.

`baseline` and `contender` are cold and hit of one run. Means: the log ratio's jackknife over clusters; percentiles: Woodruff's, of all
values of a side. Interval and test are one procedure, Student's t (intervals.py); which requests depend on one another: dependence.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.metrics import OF_REQUESTS
from locust_kvcache.analysis.stats import dependence, intervals
from locust_kvcache.analysis.stats.dependence import Dependence
from locust_kvcache.analysis.stats.influence import Side, quantile_interval, spreads
from locust_kvcache.analysis.stats.intervals import Spread
from locust_kvcache.analysis.stats.pairing import Matched, Pairs

METRICS = tuple(metric.key for metric in OF_REQUESTS if metric.compared)
STATISTICS = ("mean", "median", "p90", "p95", "p99")
RATES = ("requests_per_s", "total_tokens_per_s", "output_tokens_per_s")
BUSY_RATE = "busy_requests_per_s"  # busy_time.py
OPEN_LOOP = "open loop: the arrivals set the rate"
PAUSED = "users were not busy throughout (pauses, ramp, tail): the rate is not the inverse of the latency"
COLUMNS = (
    "scenario metric statistic baseline contender difference difference_low difference_high ratio ratio_low ratio_high pairs clusters "
    "log_se freedom p_value smallest_effect no_interval"
).split()


def effects(pairs: Pairs, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """One row per scenario, metric and statistic (mean, median, percentiles that the clusters carry, median of the pairs' own ratios)."""
    rows: list[dict[str, Any]] = []
    for matched in pairs.matched:
        units = matched.units()
        whole = dependence.of_requests(units)
        for metric in metrics:
            before, after, both = _sides(matched, metric)
            if both.any():
                depends = whole if both.all() else dependence.of_requests(units[both])
                told = compare_sides(before, after, depends, pairs.why_not or depends.why_not)
                rows += [{"scenario": matched.scenario, "metric": metric, **row} for row in told]
    return pd.DataFrame(rows, columns=COLUMNS)


def _sides(matched: Matched, metric: str) -> tuple[Side, Side, NDArray[np.bool_]]:
    """The metric's finite values of planned requests that have one on both sides, and which of the planned requests these are."""
    count = len(matched.first)
    known = [side.finite(metric) for side in (matched.baseline, matched.contender)]
    both: NDArray[np.bool_] = np.ones(count, dtype=bool)
    for side in known:
        both &= np.bincount(side.unit, minlength=count) > 0
    if both.all():
        return known[0], known[1], both
    place = np.cumsum(both) - 1
    before, after = (Side(side.values[both[side.unit]], place[side.unit[both[side.unit]]]) for side in known)
    return before, after, both


def compare_sides(baseline: Side, contender: Side, depends: Dependence, why_not: str = "") -> list[dict[str, Any]]:
    """All statistics of one metric. Percentiles are those of all values of a side, and are given only where enough clusters carry them."""
    rows = compare_values(baseline, contender, depends, why_not)
    rows.append(_pair_ratio(baseline, contender, depends, int(baseline.unit.max()) + 1, why_not))
    return rows


def compare_values(baseline: Side, contender: Side, depends: Dependence, why_not: str = "") -> list[dict[str, Any]]:
    """The statistics that need no pairs."""
    count = int(baseline.unit.max()) + 1
    carried = depends.freedom + 1.5 if not why_not else 0.0  # rounded: clusters of nearly equal size
    rows = []
    for name in STATISTICS:
        if name in ("mean", "median") or intervals.is_carried(name, carried):
            rows.append(_effect(name, baseline, contender, depends, count, why_not))
    return rows


def _effect(name: str, baseline: Side, contender: Side, depends: Dependence, count: int, why_not: str) -> dict[str, Any]:
    before, after = (side.statistic(name) for side in (baseline, contender))
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS[2:]), "statistic": name, "baseline": before, "contender": after}
    row |= {"difference": after - before, "ratio": after / before if before > 0 else None, "pairs": count}
    row |= {"clusters": depends.clusters, "no_interval": why_not}
    if why_not or before <= 0 or after <= 0:
        return row | {"no_interval": why_not or "a value of 0 has no ratio"}
    found = spreads(name, baseline, contender, depends)
    if found is None:
        return row | {"no_interval": f"the {name}'s interval would reach beyond the values of {depends.clusters} clusters"}
    half = intervals.half_width(found[1])
    ends = {"difference_low": after - before - half, "difference_high": after - before + half}
    return row | ends | ratio_interval(math.log(after / before), found[0])


def ratio_interval(log_ratio: float, spread: Spread) -> dict[str, Any]:
    """Interval and p-value of a ratio, both from the same t; `smallest_effect` follows with the verdicts, as it counts the tests."""
    half = intervals.half_width(spread)
    return {
        "ratio_low": math.exp(log_ratio - half),
        "ratio_high": math.exp(log_ratio + half),
        "log_se": spread.se,
        "freedom": spread.freedom,
        "p_value": intervals.p_value(log_ratio, spread),
    }


def _pair_ratio(baseline: Side, contender: Side, depends: Dependence, count: int, why_not: str) -> dict[str, Any]:
    """Median of contender / baseline over the contender's values, each over its own planned request's mean baseline."""
    row: dict[str, Any] = {**dict.fromkeys(COLUMNS[2:]), "statistic": "pair_ratio", "pairs": count, "clusters": depends.clusters}
    own = np.bincount(baseline.unit, baseline.values) / np.bincount(baseline.unit)
    if (own <= 0).any():
        return row | {"no_interval": why_not or "a value of 0 has no ratio"}
    ratios = Side(contender.values / own[contender.unit], contender.unit)
    bounds = None if why_not else quantile_interval(ratios, 0.5, depends)
    why = "" if bounds else why_not or f"the median's interval would reach beyond the values of {depends.clusters} clusters"
    low, high = bounds or (None, None)
    return row | {"ratio": float(np.median(ratios.values)), "ratio_low": low, "ratio_high": high, "no_interval": why}


def rate_effects(
    baseline: pd.DataFrame,
    contender: pd.DataFrame,
    latency: pd.DataFrame,
    closed_loop: bool,
    paused: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """Throughput effects per scenario from rows of the round table: rate = sum of what was done / sum of wall time (of the time in which
    all users were busy, for BUSY_RATE).

    The interval takes over that of the mean E2E latency (rows of `effects`): in a closed loop, throughput = users in flight / mean
    latency (Little), so its ratio moves as the latency's inverse. No interval in an open loop, where the rate is the arrivals' own, and
    in `paused` scenarios (dependence.py), where it is the pauses' too.
    """
    e2e = latency[latency["metric"].eq("e2e_ms") & latency["statistic"].eq("mean")].set_index("scenario")
    rows = []
    for scenario in [name for name in baseline["scenario"].unique() if (contender["scenario"] == name).any()]:
        sides = [table[table["scenario"] == scenario] for table in (baseline, contender)]
        mean = e2e.loc[scenario] if scenario in e2e.index else None
        for name in (*RATES, BUSY_RATE):
            before, after = (_rate(side, name) for side in sides)
            if before is None or after is None or before <= 0:
                continue
            row: dict[str, Any] = {**dict.fromkeys(COLUMNS), "scenario": scenario, "metric": name, "statistic": "rate"}
            row |= {"baseline": before, "contender": after, "difference": after - before, "ratio": after / before}
            why_not = OPEN_LOOP if not closed_loop else PAUSED if scenario in paused else ""
            rows.append(row | _rate_interval(math.log(after / before) if after > 0 else None, mean, why_not))
    return pd.DataFrame(rows, columns=COLUMNS)


def _rate_interval(log_ratio: float | None, mean: Any, why_not: str) -> dict[str, Any]:
    if why_not:
        return {"no_interval": why_not}
    if mean is None or log_ratio is None:
        return {"no_interval": "no request has an E2E latency on both sides"}
    counts = {"pairs": mean["pairs"], "clusters": mean["clusters"]}
    if pd.isna(mean["log_se"]):
        return counts | {"no_interval": mean["no_interval"]}
    return counts | {"no_interval": ""} | ratio_interval(log_ratio, Spread(float(mean["log_se"]), float(mean["freedom"])))


def _rate(rounds: pd.DataFrame, name: str) -> float | None:
    """Mean rate over rounds, weighted by the time that it is of; None if a round lacks it."""
    lasted = "busy_s" if name == BUSY_RATE else "wall_s"
    if name not in rounds or lasted not in rounds:
        return None
    rate, wall_s = rounds[name].astype("float64"), rounds[lasted].astype("float64")
    value = float((rate * wall_s).sum(skipna=False) / wall_s.sum(skipna=False)) if len(rounds) else math.nan
    return value if math.isfinite(value) else None
