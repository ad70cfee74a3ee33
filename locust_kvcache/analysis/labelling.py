"""Labels the records of a run: windows by round and by evidence, estimates, and which requests depend on one another."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache import prefixes, windows
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.servers import server_counters
from locust_kvcache.analysis.stats import dependence, summary


def label_run(run: RecordedRun) -> tuple[pd.DataFrame, list[Problem]]:
    """The records with their windows and estimates, and what is wrong with the evidence."""
    block = run.info.block_size_tokens
    records, problems = windows.check_evidence(run.records, block, _prefillers_count(run))
    labelled = summary.add_estimates(windows.label_windows(records, block))
    return dependence.add_dependence(labelled, _prefix_roots(labelled, run.info)), problems


def _prefix_roots(records: pd.DataFrame, info: RunInfo) -> pd.Series:
    """Who shares a prefix with whom. One that a scenario gives to all its requests is a condition of the run, not a sample of prefixes:
    there each session stands for itself."""
    shared_by_all = {
        str(entry.get("name")) for entry in info.scenarios if entry.get("prefix_shared_by") == 0 and not entry.get("documents")
    }
    return prefixes.roots(records).where(~records["scenario"].isin(shared_by_all), records["session_id"])


def _prefillers_count(run: RecordedRun) -> pd.DataFrame | None:
    """Cached tokens per scenario and round by the counters of a PD pair's prefiller; None without them."""
    if not run.info.deployment.is_pd or not run.server_metrics:
        return None
    tiers = server_counters.tiers(server_counters.deltas(server_counters.series(run.server_metrics))[0])
    mine = tiers[tiers["role"].eq("prefiller")]
    return mine.assign(cached_tokens=mine["gpu"] + mine["external"])[["scenario", "round", "cached_tokens"]]
