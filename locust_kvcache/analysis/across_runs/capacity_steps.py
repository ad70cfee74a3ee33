"""Reads the steps of a --capacity search from a run: the load that was offered, and whether it was sustained.

Every step is judged again from its records, by the rules that the search itself used (locust_kvcache.contract.capacity_rule).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.reading.run_info import SIDES, DeploymentInfo
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.stats.capacity_interval import capacity_interval
from locust_kvcache.analysis.stats.goodput import meets_slo
from locust_kvcache.contract.capacity_rule import Judgement, Measured, bounds_of, judge, sample_of
from locust_kvcache.contract.errors import BadInput

RATE, USERS = "sessions/s", "users"
QUEUEING = ("ttft_ms", "e2e_ms")


@dataclass(frozen=True)
class Step:
    """One measured round."""

    scenario: str
    deployment: str
    gpus: int | None
    side: str
    arrivals: str
    level: float  # sessions per second, or users
    unit: str
    found: Judgement
    requests: int
    hit_share: float | None
    goodput_per_s: float
    lasted_s: float
    in_flight: float | None  # mean, by Little's law


def steps_of(run: RecordedRun, slo: Mapping[str, float], share: float) -> tuple[list[Step], dict[str, float]]:
    """The measured rounds of one run, and the limits that hold. Rounds that only fill a cache or look for a start are none."""
    limits = dict(slo) or dict(run.info.deployment.slo)
    if not limits:
        raise BadInput(f"{run.folder}: key deployment.slo is {limits!r}; give --slo ttft_ms=2000")
    found = []
    for entry in run.info.rounds:
        if not entry.capacity or not entry.complete or entry.wall_s is None:
            continue
        mine = run.records[run.records["scenario"].astype(str).eq(entry.scenario) & run.records["round"].eq(entry.number)]
        found.append(_step(entry.scenario, run.info.deployment, entry.capacity, mine, entry.wall_s, limits, share))
    return found, limits


def steps_of_runs(runs: Sequence[RecordedRun], slo: Mapping[str, float], share: float) -> tuple[list[Step], dict[str, float]]:
    """The steps of all runs of one search, and the limits that hold. BadInput where the runs are not of one search."""
    steps: list[Step] = []
    limits_of: list[dict[str, float]] = []
    for run in runs:
        some, limits = steps_of(run, slo, share)
        steps, limits_of = steps + some, [*limits_of, limits]
    if not steps:
        raise BadInput(f"{runs[0].folder}: no round of a --capacity search in these runs; give the folders that a search wrote")
    if len({step.unit for step in steps}) > 1:
        raise BadInput("some of these runs searched a rate, others users; give those of one kind")
    if len({str(sorted(limits.items())) for limits in limits_of}) > 1 or len({run.info.model for run in runs}) > 1:
        raise BadInput("the runs have different models or objectives; give the runs of one search, or one --slo for all")
    return steps, limits_of[0]


def _step(
    scenario: str,
    deployment: DeploymentInfo,
    told: Mapping[str, Any],
    records: pd.DataFrame,
    wall_s: float,
    slo: Mapping[str, float],
    share: float,
) -> Step:
    samples = [sample for row in rows_of(records) if (sample := sample_of(row))]
    known = records[records["reported_cached_tokens"].notna() & records["prompt_tokens"].gt(0)]
    users, rate = told.get("users"), told.get("request_rate_per_s")
    turns = len(records) / max(1, records["session_id"].nunique())
    requests_per_s = rate * turns if rate else len(records) / wall_s
    mean_s = float(records["e2e_ms"].mean()) / 1000
    return Step(
        scenario=scenario,
        deployment=str(deployment.name),
        gpus=deployment.gpus,
        side=str(told["side"]),
        arrivals=str(told["kind"]),
        level=float(users or rate or 0.0),
        unit=USERS if users else RATE,
        found=judge(samples, slo, share),
        requests=len(records),
        hit_share=float(known["reported_cached_tokens"].sum() / known["prompt_tokens"].sum()) if len(known) else None,
        goodput_per_s=requests_per_s * float(meets_slo(records, slo).mean()) if len(records) else 0.0,
        lasted_s=wall_s,
        in_flight=None if pd.isna(mean_s) else requests_per_s * mean_s,
    )


def by_side(steps: list[Step], scenario: str) -> dict[str, list[Step]]:
    """The steps of each search: cold and hit, of each deployment where there are several."""
    mine = [step for step in steps if step.scenario == scenario]
    several = len({step.deployment for step in mine}) > 1
    found: dict[str, list[Step]] = {}
    for step in sorted(mine, key=lambda step: (step.deployment, SIDES.index(step.side))):
        found.setdefault(f"{step.deployment} {step.side}" if several else step.side, []).append(step)
    return found


@dataclass(frozen=True)
class Capacity:
    """`value` is the level at which just as many requests are late as may be, `low` and `high` its interval, `no_interval` why it has
    none. All steps up to `passed` were sustained, none from `failed` on."""

    value: float | None
    low: float | None
    high: float | None
    no_interval: str
    passed: float | None
    failed: float | None
    steps: int


def found_capacity(steps: list[Step], slo: Mapping[str, float], share: float) -> Capacity:
    """The interval holds what was sustained each time and what never was, too: steps that do not vary have no other."""
    ends = bounds_of([Measured(step.level, step.found.sustained) for step in steps])
    value, low, high, why = capacity_interval([step.level for step in steps], [step.found.late for step in steps], 1 - share)
    if low is not None and high is not None and value is not None:
        if ends.low is None or ends.high is None:
            why = "no step bounds it from the other side"
        else:
            low, high = min(low, ends.low), max(high, ends.high)
            why = too_short(steps, slo, value)
    if why:
        low, high = None, None
    return Capacity(value, low, high, why, ends.low, ends.high, len(steps))


def too_short(steps: list[Step], slo: Mapping[str, float], capacity: float) -> str:
    """Why steps of so few requests say nothing of a queue that may grow so long; empty where they do.

    Under random arrivals the queue whose wait just keeps a limit holds K = capacity x (limit - time without a queue) requests, and takes
    about K^2 arrivals to become what it is in the long run (heavy traffic).
    """
    if steps[0].unit != RATE or steps[0].arrivals == "constant":
        return ""
    fewest = min(step.requests for step in steps)
    for name in [name for name in slo if name in QUEUEING]:
        shortest_ms = min((value for step in steps if (value := step.found.percentiles[name]) is not None), default=slo[name])
        needed = (capacity * max(0.0, slo[name] - shortest_ms) / 1000) ** 2
        if fewest < needed:
            return (
                f"a queue that keeps {name.removesuffix('_ms').upper()} under {slo[name] / 1000:g} s at this rate shows itself in "
                f"{math.ceil(needed):,} requests per step (--requests), these have {fewest:,}"
            )
    return ""
