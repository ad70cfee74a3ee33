"""Checks whether each round was steady (drift, warm-up), and names its outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.number_text import percent
from locust_kvcache.analysis.basics.problems import Problem

MIN_REQUESTS = 12
LARGE = 0.2  # a change of the TTFT of 20 % is worth a warning
ALPHA = 0.01  # many rounds are looked at
OUTLIER = 5.0  # robust standard deviations of the log
RISES = "A queue that grows, or a clock that throttles: look at TTFT over time."
FALLS = "Warm-up, or the users' first requests queue together and the queue drains: look at TTFT over time."
WARM_UP = (
    "All users start the round at once, and their first requests queue together: use more requests per round. Or the servers were not "
    "warm: use --warm-up, and compare against a control round (--control)."
)
BURST = "All users start the round at once, and their first requests queue together: look at TTFT over time; use more requests per round."
STEADY_COLUMNS = ["scenario", "round", "window", "requests", "drift", "drift_p", "warmup_ratio", "warmup_p", "steady"]
LOOKED_AT = ["started_at_s", "ttft_ms", "prompt_tokens", "reported_cached_tokens", "planned_cached_tokens"]


def work_adjusted(group: pd.DataFrame) -> pd.Series:
    """The TTFT as if all requests of a window had the same size: divided by its least-squares line over prompt and uncached tokens.

    Plans send requests of different sizes in some order; without this a long prompt would look like drift, or like an outlier.
    """
    ttft, prompt, cached = group["ttft_ms"], group["prompt_tokens"], group["reported_cached_tokens"].fillna(0.0)
    if len(group) < MIN_REQUESTS or prompt.isna().any() or prompt.max() - prompt.min() <= 0.02 * prompt.max():
        return ttft
    design = np.stack([np.ones(len(group)), prompt, prompt - cached], axis=1)
    line = design @ np.linalg.lstsq(design, ttft.to_numpy(), rcond=None)[0]
    return ttft / line * ttft.median() if line.min() > 0.1 * ttft.min() else ttft


def steady_state(records: pd.DataFrame) -> pd.DataFrame:
    """Per scenario, round and evidence window, as a cold round gets faster by itself once its prefixes are cached.

    drift: TTFT (adjusted for the request's size) at the end over that at the start, less 1, both fitted: a Theil-Sen line through its
    logarithm over the order of sending; p by Kendall's tau. warmup_ratio: median of the first tenth (at least 3) over the median of the
    rest; p by Mann-Whitney.
    """
    usable = records["ok"] & records["ttft_ms"].gt(0) & records["started_at_s"].notna()
    rows = []
    for key, places in group_masks(records, ["scenario", "round", "window"]):
        group = _alike(chosen(records, places & usable, LOOKED_AT), round_1=key[1] == 1, window=str(key[2]))
        if len(group) >= MIN_REQUESTS:
            values = work_adjusted(group.sort_values("started_at_s", kind="stable")).to_numpy()
            rows.append({"scenario": str(key[0]), "round": int(key[1]), "window": str(key[2]), **_steady(_thinned(values))})
    return pd.DataFrame(rows, columns=STEADY_COLUMNS)


def _alike(group: pd.DataFrame, round_1: bool, window: str) -> pd.DataFrame:
    """In round 1 the requests that computed their prompt: a hit there waits behind what is computed. Where no evidence says which did
    (a PD pair's decoder reports none), those of which the plan has nothing cached."""
    if not round_1 or window in ("cold", "partial"):
        return group
    return group[group["planned_cached_tokens"].eq(0)] if window == "unknown" else group.iloc[:0]


def _thinned(values: np.ndarray, limit: int = 1500) -> np.ndarray:
    """Theil-Sen looks at all pairs: evenly spaced values are enough."""
    return values if len(values) <= limit else values[np.linspace(0, len(values) - 1, limit).astype(int)]


def _steady(values: np.ndarray) -> dict[str, Any]:
    from scipy import stats  # takes half a second to import: only where a round is long enough

    drift = math.expm1(theil_sen(np.log(values)) * (len(values) - 1))
    drift_p = float(stats.kendalltau(np.arange(len(values)), values).pvalue)
    first = max(3, len(values) // 10)
    ratio = float(np.median(values[:first]) / np.median(values[first:]))
    warmup_p = float(stats.mannwhitneyu(values[:first], values[first:]).pvalue)
    drifts = _clear(drift_p) and abs(drift) > LARGE
    warms = _clear(warmup_p) and abs(ratio - 1) > LARGE
    return {
        "requests": len(values),
        "drift": drift,
        "drift_p": drift_p,
        "warmup_ratio": ratio,
        "warmup_p": warmup_p,
        "steady": not (drifts or warms),
    }


def theil_sen(values: np.ndarray) -> float:
    """The median slope of all pairs, over their places. (scipy.stats.theilslopes sorts all slopes for an interval too, at twice the
    time.)"""
    return float(np.median(np.concatenate([(values[step:] - values[:-step]) / step for step in range(1, len(values))])))


def _clear(p: float) -> bool:
    return math.isfinite(p) and p < ALPHA


def outliers(records: pd.DataFrame, limit: int = 20) -> pd.DataFrame:
    """Requests whose TTFT is more than 5 robust standard deviations of the log (1.4826 MAD, at least 2 %) above or below its window's
    median, adjusted for the request's size; the farthest first."""
    by = ["scenario", "round", "window"]
    columns = [*by, "request_index", "session_id", "worker", *LOOKED_AT]
    usable, found = records["ok"] & records["ttft_ms"].gt(0), list[pd.DataFrame]()
    for _, places in group_masks(records, by):
        group = chosen(records, places & usable, columns)
        log = np.log(work_adjusted(group))
        centre = log.median()
        distance = (log - centre) / max((log - centre).abs().median() * 1.4826, 0.02)
        big = distance.abs().gt(OUTLIER)
        if len(group) >= MIN_REQUESTS and big.any():
            found.append(group[big].assign(times_the_median=np.exp(log - centre)[big], deviations=distance[big]))
    named = [*by, "request_index", "session_id", "worker", "prompt_tokens", "ttft_ms"]
    if not found:
        return pd.DataFrame(columns=[*named, "times_the_median", "deviations", "of"])
    texts = {"scenario": str, "window": str, "worker": object}
    table = pd.concat([part.astype(texts) for part in found]).sort_index()[[*named, "times_the_median", "deviations"]]
    return table.reindex(table["deviations"].abs().sort_values(ascending=False).index).head(limit).assign(of=len(table))


def _drifts(row: Mapping[Any, Any]) -> bool:
    return _clear(row["drift_p"]) and abs(row["drift"]) > LARGE


def slow_starts(table: pd.DataFrame) -> set[tuple[str, int]]:
    """(scenario, round) of those whose warning says that their first requests are slow."""
    rows = table[~table["steady"].astype(bool)].to_dict("records")
    return {(str(row["scenario"]), int(row["round"])) for row in rows if not _drifts(row) and row["warmup_ratio"] >= 1}


def steadiness_problems(table: pd.DataFrame) -> list[Problem]:
    """A warning per window that drifts or warms up."""
    problems = []
    for row in table[~table["steady"].astype(bool)].to_dict("records"):
        name = f"Round {row['round']} of {row['scenario']} ({row['window']})"
        if _drifts(row):
            text = f"{name} is not steady: its TTFT changes by {percent(row['drift'], signed=True)} from its first to its last request."
            problems.append(Problem("warning", "drift", text, RISES if row["drift"] > 0 else FALLS))
        elif row["warmup_ratio"] < 1:
            text = (
                f"{name} ramps up: its first requests take {row['warmup_ratio']:.2f} times as long as the rest, because there is no "
                "queue yet."
            )
            problems.append(Problem("note", "ramp_up", text, "More requests per round make it matter less."))
        else:
            text = f"{name}: its first requests take {row['warmup_ratio']:.2f} times as long as the rest."
            problems.append(Problem("warning", "warmup", text, WARM_UP if row["round"] == 1 else BURST))
    return problems
