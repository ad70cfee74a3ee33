"""Compares routing policies (or other deployments of a fleet) side by side: hit rate, TTFT, throughput per GPU, balance, shed requests.

Absolute figures, not ratios of cold to hit: the deployment with the largest change can be the slowest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locust_kvcache.analysis.across_runs.run_comparison import gpus
from locust_kvcache.analysis.across_runs.run_spread import deployment_of
from locust_kvcache.analysis.basics.number_text import DASH, is_missing, number, percent, whole
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.table import Table, find

SHED = (429, 503)
HEADER = (
    "", "runs", "hit rate", "TTFT mean, ms", "median", "P90", "P99", "requests/s", "requests/s per GPU", "prompt tokens, busiest / mean",
    "idle engines", "shed",
)  # fmt: skip


def policy_table(runs: Sequence[Analysis], scenario: str, shown: Mapping[str, str] | None = None) -> Table:
    """A row per deployment (by its shown name) and round: means over its runs. Empty where no run knows of several engines."""
    several = any(find(run.stats.get("balance", ()), scenario=scenario) for run in runs)
    names = list(dict.fromkeys(deployment_of(run) for run in runs)) if several else []
    rows = []
    for name in names:
        mine = [run for run in runs if deployment_of(run) == name]
        for round_ in sorted({row["round"] for run in mine for row in find(run.stats["rounds"], scenario=scenario)}):
            figures = [run_figures(run, scenario, round_) for run in mine]
            rows.append((f"{(shown or {}).get(name, name)}, round {round_}", str(len(mine)), *_cells(figures)))
    rule = "by round; means over the runs of each deployment, shed and idle: the largest"
    note = f"Shed: requests that ended with HTTP {' or '.join(map(str, SHED))}. Balance: 1 is even, the number of engines is one for all."
    return Table(f"{scenario}: policies side by side", HEADER, tuple(rows), rule, (note,) if rows else ())


def run_figures(run: Analysis, scenario: str, round_: int) -> dict[str, float | None]:
    """What one run gives for one round; None where it is not known."""
    rounds = find(run.stats["rounds"], scenario=scenario, round=round_)
    times = find(run.stats["distributions"], scenario=scenario, split="round", group=str(round_), metric="ttft_ms")
    balance = find(run.stats.get("balance", ()), scenario=scenario, round=round_)
    cache = find(run.stats["cache"], scenario=scenario, round=round_)
    rate, count = rounds[0]["requests_per_s"] if rounds else None, gpus(run)
    failed = find(run.stats["failures"], scenario=scenario, round=round_)
    return {
        "hit_rate": cache[0]["reported"] / cache[0]["prompt_tokens"] if cache and cache[0]["prompt_tokens"] else None,
        **{name: times[0][name] if times else None for name in ("mean", "median", "p90", "p99")},
        "requests_per_s": rate,
        "per_gpu": rate / count if rate is not None and count else None,
        "balance": max((row["max_over_mean_tokens"] for row in balance), default=None),
        "idle": max((row["idle"] for row in balance), default=None),
        "shed": float(sum(row["requests"] for row in failed if row["http_status"] in SHED)),
    }


def _cells(figures: list[dict[str, Any]]) -> tuple[str, ...]:
    def mean(name: str) -> float | None:
        values = [found[name] for found in figures]
        return None if any(is_missing(value) for value in values) else sum(values) / len(values)

    def most(name: str) -> str:
        values = [found[name] for found in figures if not is_missing(found[name])]
        return whole(max(values)) if values else DASH

    shown = (number(mean(name)) for name in ("mean", "median", "p90", "p99", "requests_per_s", "per_gpu", "balance"))
    return (percent(mean("hit_rate")), *shown, most("idle"), most("shed"))
