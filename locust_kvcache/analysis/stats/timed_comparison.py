"""Compares timed rounds: each side's requests in blocks of time, without pairs, because the rounds send different numbers of requests.

A block is at least twice as long as what is in flight at once, 20 blocks at most; what neighbouring blocks have in common is added
(dependence.py). The interval is Student's with one degree of freedom less than the side with fewer blocks has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.stats import dependence
from locust_kvcache.analysis.stats.comparison import COLUMNS, METRICS, compare_values
from locust_kvcache.analysis.stats.influence import Side

NEEDED = ["scenario", "round", "ok", "started_at_s", "e2e_ms"]


def effects(baseline: pd.DataFrame, contender: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """One row per scenario, metric and statistic, as comparison.effects has them; `pairs` is the number of requests of the smaller side."""
    rows: list[dict[str, Any]] = []
    sides = [side[side["ok"] & side["started_at_s"].notna()] for side in (baseline, contender)]
    for scenario in [name for name in sides[0]["scenario"].unique() if (sides[1]["scenario"] == name).any()]:
        mine = [side["scenario"].eq(scenario) for side in sides]
        for metric in metrics:
            finite = [np.isfinite(side[metric].to_numpy(dtype="float64")) for side in sides]
            known = [chosen(side, of & has, [*NEEDED, metric]) for side, of, has in zip(sides, mine, finite, strict=True)]
            if min(map(len, known)):
                rows += [{"scenario": str(scenario), "metric": metric, **row} for row in _compared(known, metric)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _compared(sides: list[pd.DataFrame], metric: str) -> list[dict[str, Any]]:
    """The contender's requests have the first numbers: the last one of all is the baseline's, by which the formulas know how many there
    are."""
    before, after = sides
    depends = dependence.in_time([after, before])
    first = len(after)
    baseline = Side(before[metric].to_numpy(dtype="float64"), np.arange(first, first + len(before)))
    contender = Side(after[metric].to_numpy(dtype="float64"), np.arange(first))
    return [
        {**row, "pairs": min(len(before), len(after))} for row in compare_values(baseline, contender, depends, depends.why_not)
    ]
