"""Compares a tenant alone with the same tenant beside the others, in pairs of runs that send its requests at the same times.

A pair is one observation. Hit rates: arithmetic means, and the mean of their differences. Times: geometric means, whose ratio is the
geometric mean of the ratios. Intervals are Student's over pairs, of the differences and of the logarithms of the ratios. A difference of
two hit rates lies between -1 and 1, so its interval ends there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import Any

import pandas as pd

from locust_kvcache.analysis.stats.intervals import Spread, half_width
from locust_kvcache.analysis.stats.tenants import tenant_table

ALONE, BESIDE = "alone", "beside"
SIDES = (ALONE, BESIDE)
TIMES = ("ttft_p50_ms", "ttft_p90_ms")
METRICS = ("hit_rate", *TIMES)


@dataclass(frozen=True)
class Side:
    """One run of a pair."""

    pair: int
    side: str
    tenant: str
    records: pd.DataFrame


def side_values(sides: Sequence[Side]) -> pd.DataFrame:
    """Columns scenario, round, pair, side and METRICS, of the quiet tenant."""
    tables = []
    for one in sides:
        table = tenant_table(one.records)
        mine = table[table["tenant"].eq(one.tenant)]
        tables.append(mine[["scenario", "round", *METRICS]].assign(pair=one.pair, side=one.side))
    return pd.concat(tables, ignore_index=True)


def differences(values: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per scenario, round and metric, over the pairs that have both sides. Of hit rates the difference, of times the ratio."""
    key: Any
    rows = []
    for key, group in values.groupby(["scenario", "round"], sort=False):
        for metric in METRICS:
            wide = _whole_pairs(group, metric)
            if len(wide):
                row = {"scenario": key[0], "round": int(key[1]), "metric": metric, "pairs": len(wide)}
                rows.append({**row, **_compared(wide[ALONE].tolist(), wide[BESIDE].tolist(), metric in TIMES)})
    return rows


def _whole_pairs(group: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Per pair that has both of its sides the metric, a column per side."""
    return group.astype({metric: float}).pivot(index="pair", columns="side", values=metric).reindex(columns=SIDES).dropna()


def points(values: pd.DataFrame, scenario: str, metric: str) -> pd.DataFrame:
    """What `differences` compares, one row per run: columns round, pair, side, value."""
    rows = []
    for number, group in values[values["scenario"].eq(scenario)].groupby("round"):
        wide = _whole_pairs(group, metric)
        rows.append(wide.melt(value_name="value", ignore_index=False).reset_index().assign(round=number))
    return pd.concat(rows, ignore_index=True)


def _compared(alone: list[float], beside: list[float], ratio: bool) -> dict[str, Any]:
    if not ratio:
        means = {ALONE: fmean(alone), BESIDE: fmean(beside)}
        mean, half = _mean(list(map(float.__sub__, beside, alone)))
        bounds = (None, None) if half is None else (max(-1.0, mean - half), min(1.0, mean + half))
        return {**means, "difference": mean, "low": bounds[0], "high": bounds[1]}
    means = {ALONE: geometric_mean(alone), BESIDE: geometric_mean(beside)}
    mean, half = _mean([math.log(after / before) for before, after in zip(alone, beside, strict=True)])
    ends = (None, None) if half is None else (math.exp(mean - half), math.exp(mean + half))
    return {**means, "ratio": math.exp(mean), "ratio_low": ends[0], "ratio_high": ends[1]}


def _mean(values: list[float]) -> tuple[float, float | None]:
    """(mean, half width of its interval); one pair has none."""
    count, mean = len(values), sum(values) / len(values)
    if count < 2:
        return mean, None
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return mean, half_width(Spread(deviation / math.sqrt(count), count - 1))
