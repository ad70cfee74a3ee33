"""A run of a --capacity search comes in, its steps go out: what was offered, whether that was sustained, what came of it.

Every step is judged again from its records, by the rules that the search itself used (locust_kvcache.contract.capacity_rule).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.reading.run_info import DeploymentInfo, RunInfo
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.stats.goodput import meets_slo
from locust_kvcache.contract.capacity_rule import Capacity, Judgement, Measured, capacity_of, judge, sample_of
from locust_kvcache.contract.errors import BadInput

SIDES = ("cold", "hit")


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


def steps_of(folder: Path, slo: Mapping[str, float], share: float) -> tuple[list[Step], RunInfo, dict[str, float]]:
    """The measured rounds of one run, its run.json and the limits that hold. Rounds that only fill a cache or look for a start are none."""
    run = load_run(folder)
    limits = dict(slo) or dict(run.info.deployment.slo)
    if not limits:
        raise BadInput(f"{folder}: key deployment.slo is {limits!r}; give --slo ttft_ms=2000")
    found = []
    for entry in run.info.rounds:
        if not entry.capacity or not entry.complete or entry.wall_s is None:
            continue
        mine = run.records[run.records["scenario"].astype(str).eq(entry.scenario) & run.records["round"].eq(entry.number)]
        found.append(_step(entry.scenario, run.info.deployment, entry.capacity, mine, entry.wall_s, limits, share))
    return found, run.info, limits


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
        unit="users" if users else "sessions/s",
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


def found_capacity(steps: list[Step]) -> Capacity:
    return capacity_of([Measured(step.level, step.found.sustained) for step in steps])
