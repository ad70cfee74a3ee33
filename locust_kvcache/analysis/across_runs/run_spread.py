"""Estimates the spread of repeated runs, and the differences between deployments beyond it; a run is one observation.

A run's own interval holds what varies between its requests, not what varies from one run to the next. Here every run gives one
value, and intervals are Student's on the logarithms of these values: Welch's (1947) between deployments, paired within them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from locust_kvcache.analysis.across_runs.run_comparison import gpus
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.stats import comparison, verdicts
from locust_kvcache.analysis.stats.cost import UNITS
from locust_kvcache.analysis.stats.intervals import CONFIDENCE

METRICS = ("ttft_ms", "tpot_ms", "e2e_ms")
COSTS = tuple(f"{what}_per_{unit}" for what in ("cost", "joules") for unit in UNITS)  # of stats/cost.py
NOT_COMPARED = ("requests_per_s_per_gpu", *COSTS)  # their changes are those of the throughput and of the power
KEYS = ["deployment", "scenario", "round", "metric"]


def run_values(runs: Sequence[Analysis]) -> pd.DataFrame:
    """One row per run, scenario, round and metric: the mean over its requests, its throughput, that per GPU where `gpus` is known, and
    what a request and a million tokens cost in money and joules."""
    rows = []
    for run in runs:
        name, count = deployment_of(run), gpus(run)
        for row in run.stats["distributions"]:
            if row["split"] == "round" and row["metric"] in METRICS:
                rows.append((name, row["scenario"], int(row["group"]), row["metric"], run.run_id, row["mean"]))
        for row in run.stats["rounds"]:
            rate = row["requests_per_s"]
            rows.append((name, row["scenario"], row["round"], "requests_per_s", run.run_id, rate))
            if count and rate is not None:
                rows.append((name, row["scenario"], row["round"], "requests_per_s_per_gpu", run.run_id, rate / count))
        for row in run.stats.get("cost") or []:
            rows += [(name, row["scenario"], row["round"], metric, run.run_id, row[metric]) for metric in COSTS]
    table = pd.DataFrame(rows, columns=[*KEYS, "run", "value"]).astype({"value": float})
    return table[table["value"] > 0].reset_index(drop=True)


def deployment_of(run: Analysis) -> str:
    return str(run.info.deployment.name)


def spread(values: pd.DataFrame) -> pd.DataFrame:
    """Per deployment, scenario, round and metric: runs, geometric mean with its interval, smallest and largest; from 2 runs on."""
    key: Any
    rows = []
    for key, group in values.groupby(KEYS, sort=False):
        logs = np.log(group["value"].to_numpy())
        half = _half_width(logs)
        mean = float(logs.mean())
        bounds = (None, None) if half is None else (math.exp(mean - half), math.exp(mean + half))
        rows.append((*key, len(logs), math.exp(mean), *bounds, group["value"].min(), group["value"].max()))
    return pd.DataFrame(rows, columns=[*KEYS, "runs", "mean", "low", "high", "smallest", "largest"])


def _half_width(logs: np.ndarray) -> float | None:
    """Student's half width of a mean; None for one run, which says nothing of the next."""
    n = len(logs)
    return None if n < 2 else float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * logs.std(ddof=1) / math.sqrt(n))


def between(values: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """comparison.COLUMNS with verdicts, per contender, round, scenario and metric: its runs against the baseline's (Welch, on logs)."""
    key: Any
    rows = []
    bases: dict[Any, pd.DataFrame] = dict(iter(values[values["deployment"].eq(baseline)].groupby(KEYS[1:])))
    for name in [name for name in values["deployment"].unique() if name != baseline]:
        mine = values[values["deployment"].eq(name) & ~values["metric"].isin(COSTS)]
        for key, group in mine.groupby(KEYS[1:], sort=False):
            if key in bases:
                logs = [np.log(side["value"].to_numpy()) for side in (bases[key], group)]
                rows.append({**_row(key[0], key[2], logs, *_welch(*logs)), "contender_run": name, "round": key[1]})
    return _judged(rows)


def within(values: pd.DataFrame) -> pd.DataFrame:
    """The same columns: each later round against round 1 of the same run, per deployment (paired by run, on logs)."""
    key: Any
    rows = []
    some = values[~values["metric"].isin(NOT_COMPARED)]
    for key, group in some.groupby(["deployment", "scenario", "metric"], sort=False):
        wide = group.pivot_table(index="run", columns="round", values="value").dropna()
        rounds: list[Any] = list(wide.columns)
        for number in [number for number in rounds if number != 1 and 1 in rounds]:
            logs = [np.log(wide[side].to_numpy()) for side in (1, number)]
            change = logs[1] - logs[0]
            error = float(change.std(ddof=1) / math.sqrt(len(change))) if len(change) > 1 else None
            rows.append({**_row(key[1], key[2], logs, error, len(change) - 1), "contender_run": key[0], "round": number})
    return _judged(rows)


def _welch(before: np.ndarray, after: np.ndarray) -> tuple[float | None, float]:
    """Standard error of the difference of two means, and Welch-Satterthwaite's degrees of freedom; None where a side has one run."""
    if min(len(before), len(after)) < 2:
        return None, 0.0
    parts = [float(side.var(ddof=1)) / len(side) for side in (before, after)]
    error = math.sqrt(sum(parts))
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (before, after), strict=True))
    return error, (sum(parts) ** 2 / below if below else len(before) + len(after) - 2.0)


def _row(scenario: str, metric: str, logs: list[np.ndarray], error: float | None, freedom: float) -> dict[str, Any]:
    """`pairs` counts the contender's runs. One run on a side gives a ratio without an interval."""
    change = float(logs[1].mean() - logs[0].mean())
    row: dict[str, Any] = dict.fromkeys(comparison.COLUMNS)
    row |= {
        "scenario": scenario,
        "metric": metric,
        "statistic": "rate" if "_per_s" in metric else "mean",
        "pairs": len(logs[1]),
        "ratio": math.exp(change),
    }
    row |= {"baseline": math.exp(logs[0].mean()), "contender": math.exp(logs[1].mean())}
    if error:
        row |= {"log_se": error, "freedom": freedom}
        half = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
        row |= {"ratio_low": math.exp(change - half), "ratio_high": math.exp(change + half)}
        row["p_value"] = float(2 * special.stdtr(freedom, -abs(change) / error))
    return row


def _judged(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return verdicts.add_verdicts(pd.DataFrame(rows, columns=[*comparison.COLUMNS, "contender_run", "round"]))
