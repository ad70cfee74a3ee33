"""Follows TTFT, TPOT and hit rate over a timed round: how far they drift, and when they changed (change_points.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.metrics import BY_KEY
from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.number_text import number, percent
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.stats.change_points import LEAST_VALUES, changes
from locust_kvcache.analysis.stats.intervals import Floats

WINDOW_REQUESTS = 10  # at least, on average
MOST_WINDOWS = 120
HIT_RATE = "hit_rate"
NAMES = {"ttft_ms": BY_KEY["ttft_ms"].label, "tpot_ms": BY_KEY["tpot_ms"].label, HIT_RATE: "hit rate"}
LARGE = 0.1  # a change of a tenth is worth a warning
DRIFT_COLUMNS = ["scenario", "round", "figure", "windows", "window_s", "first", "last"]
CHANGE_COLUMNS = ["scenario", "round", "figure", "at_s", "low_s", "high_s", "before", "after", "p"]


def over_time(records: pd.DataFrame, timed: Iterable[tuple[str, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the first and the last tenth of each figure, its changes) of each timed round with enough requests. Times: s since its first
    request that is measured."""
    drift, found = list[dict[str, Any]](), list[dict[str, Any]]()
    columns = ["started_at_s", "ttft_ms", "tpot_ms", "reported_cached_tokens", "prompt_tokens"]
    usable = records["ok"] & records["started_at_s"].notna()
    for scenario, number_of in timed:
        mine = chosen(records, usable & records["scenario"].eq(scenario) & records["round"].eq(number_of), columns)
        if len(mine) < WINDOW_REQUESTS * LEAST_VALUES:
            continue
        begin_s = float(mine["started_at_s"].min())
        count = min(MOST_WINDOWS, len(mine) // WINDOW_REQUESTS)
        width_s = (float(mine["started_at_s"].max()) - begin_s) / count * (1 + 1e-9)
        place = ((mine["started_at_s"] - begin_s) // width_s).astype("int64").to_numpy()
        for figure in NAMES:
            at, values = _means(mine, place, count, figure)
            key = {"scenario": scenario, "round": number_of, "figure": figure}
            tenth = max(1, len(values) // 10)
            if len(values) < LEAST_VALUES:
                continue
            first, last = float(values[:tenth].mean()), float(values[-tenth:].mean())
            drift.append({**key, "windows": len(values), "window_s": width_s, "first": first, "last": last})
            times = np.append(at, count) * width_s
            found += [
                {**key, "at_s": times[one.place], "low_s": times[one.low], "high_s": times[one.high], "before": one.before,
                 "after": one.after, "p": one.p}
                for one in changes(values)
            ]  # fmt: skip
    return pd.DataFrame(drift, columns=DRIFT_COLUMNS), pd.DataFrame(found, columns=CHANGE_COLUMNS)


def _means(records: pd.DataFrame, place: np.ndarray, count: int, figure: str) -> tuple[Floats, Floats]:
    """(number of each window that has the figure, its mean there); a hit rate is the tokens' own."""
    if figure == HIT_RATE:
        above, below = records["reported_cached_tokens"].to_numpy("float64"), records["prompt_tokens"].to_numpy("float64")
    else:
        above, below = records[figure].to_numpy("float64"), np.ones(len(records))
    known = np.isfinite(above) & np.isfinite(below)
    sums, weights = (np.bincount(place[known], values[known], count) for values in (above, below))
    there = weights > 0
    return np.flatnonzero(there).astype("float64"), sums[there] / weights[there]


def change_problems(found: pd.DataFrame) -> list[Problem]:
    """A warning per change by a tenth or more: the round had no one level."""
    problems = []
    for row in rows_of(found):
        before, after = row["before"], row["after"]
        if abs(after - before) < LARGE * abs(before):
            continue
        shown = (
            (percent(before), percent(after)) if row["figure"] == HIT_RATE else (f"{number(before)} ms", f"{number(after)} ms")
        )
        text = (
            f"Round {row['round']} of {row['scenario']}: {NAMES[row['figure']]} changed after {row['at_s']:,.0f} s "
            f"[{row['low_s']:,.0f}, {row['high_s']:,.0f}], from {shown[0]} to {shown[1]}."
        )
        way_out = "Its means are of no one level: look at what happened then, and measure what it cost with `recovery`."
        problems.append(Problem("warning", "change_point", text, way_out))
    return problems
