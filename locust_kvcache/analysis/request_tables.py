"""Makes the tables of stats.json that describe a run's requests and judge nothing."""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.cache import ideal_caches, waterfall
from locust_kvcache.analysis.model import model_statistics, ttft_model
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.stats import other_tools, sample, steadiness, summary, tenants
from locust_kvcache.contract.tier_capacity import tier_capacities


def described(run: RecordedRun, records: pd.DataFrame, block: int) -> dict[str, Any]:
    """Tables that describe the requests and judge nothing."""
    by_round = records.groupby(["scenario", "round", "window"], observed=True).size()
    over_time, over_time_note = _over_time(run, records, block)
    fleet, fleet_note = _waterfall(run, records, block)
    by_tenant = tenants.tenant_table(records)
    return {
        "windows": summary.totals(records, ["scenario", "window"]),
        "windows_by_round": by_round.rename("requests").reset_index(),
        "failures": summary.failures(records),
        "cache_over_time": over_time,
        "cache_over_time_note": over_time_note,
        "waterfall": fleet,
        "waterfall_note": fleet_note,
        "tenants": by_tenant,
        "fairness": tenants.fairness_table(by_tenant),
        "other_tools": other_tools.tool_table(records),
        "outliers": steadiness.outliers(records),
        "ttft_model": _model(records, run.info),
        "samples": sample.samples(records),
    }


def distributions(records: pd.DataFrame) -> pd.DataFrame:
    """By round (each one), by round window (all hit rounds together) and by evidence, in one table: split, scenario, group, metric."""
    tables = []
    for split, column in (("round", "round"), ("round_window", "round_window"), ("evidence", "window")):
        table = summary.distributions(records, ["scenario", column])
        tables.append(table.rename(columns={column: "group"}).assign(split=split).astype({"group": str}))
    return pd.concat(tables, ignore_index=True)


def _over_time(run: RecordedRun, records: pd.DataFrame, block: int) -> tuple[pd.DataFrame, str | None]:
    """Served beside what ideal caches would have served, over the run, and why tiers are missing there."""
    sizes = tier_capacities(run.server_metrics, run.info.model_facts.kv_bytes_per_token, dict(run.info.deployment.capacity))
    return ideal_caches.over_time(records, block, sizes, arms=bool(run.info.arms))


def _waterfall(run: RecordedRun, records: pd.DataFrame, block: int) -> tuple[pd.DataFrame, str | None]:
    """Where a fleet lost what could have been reused, where its responses name the engine."""
    rows, given = run.server_metrics, dict(run.info.deployment.capacity)
    held = tier_capacities(rows, run.info.model_facts.kv_bytes_per_token, given).get("gpu")
    return waterfall.waterfall(records, block, held, len(run.info.deployment.engine_names))


def _model(records: pd.DataFrame, info: RunInfo) -> dict[str, Any]:
    """One model per deployment, over all scenarios."""
    points = ttft_model.fit_points(records)
    fit = ttft_model.fit_ttft(points) if len(points) else None
    return model_statistics.model_stats(fit, info.model_facts.kv_bytes_per_token, points, info.users)
