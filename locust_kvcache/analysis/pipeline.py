"""The straight line, wired: a run's folder comes in, an Analysis (statistics and labelled requests) goes out.

Statistics are a dict of tidy tables, exactly as they stand in stats.json, so that a report is the same from memory and from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.metrics import SAMPLED
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.cache import (
    arm_effects,
    claimed,
    hit_effects,
    hit_gains,
    ideal_caches,
    lost_tokens,
    never_stored,
    prefixes,
    run_claims,
    tier_verdicts,
    windows,
)
from locust_kvcache.analysis.cache.round_facts import kind_of, round_kinds
from locust_kvcache.analysis.model import model_statistics, ttft_model
from locust_kvcache.analysis.reading.run_info import RunInfo, parse_run_info
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.analysis.reading.stats_file import KIND, STATS_FORMAT, read_stats
from locust_kvcache.analysis.servers import counted_prompts, hidden_failures, kv_transfers, server_counters, ttft_parts
from locust_kvcache.analysis.stats import (
    answer_checks,
    busy_time,
    client_limits,
    dependence,
    figure_checks,
    goodput,
    other_tools,
    steadiness,
    summary,
    targets,
)
from locust_kvcache.analysis.stats.intervals import CONFIDENCE, SEED
from locust_kvcache.contract.failure_limit import FailureLimit, parse_failure_limit
from locust_kvcache.contract.tier_capacity import tier_capacities

SAMPLED_REQUESTS = 2000  # per scenario and round, whole sessions
SAMPLE_COLUMNS = [
    *"scenario round request_index session_id turn window round_window status ok started_at_s prompt_tokens output_tokens".split(),
    *("planned_cached_tokens", "reported_cached_tokens", *SAMPLED),
]


@dataclass(frozen=True)
class Analysis:
    """`stats` is the content of stats.json; `requests` has one row per request, labelled (a sample if the records are elsewhere)."""

    source: Path
    stats: dict[str, Any]
    requests: pd.DataFrame
    sampled: bool = False

    @cached_property
    def info(self) -> RunInfo:
        """run.json, as stats.json keeps it."""
        return parse_run_info(self.stats["run"])

    @property
    def run_id(self) -> str:
        return self.info.run_id or self.source.name

    def table(self, name: str) -> pd.DataFrame:
        return pd.DataFrame(self.stats[name])


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
        entry.get("name") for entry in info.scenarios if entry.get("prefix_shared_by") == 0 and not entry.get("documents")
    }
    return prefixes.roots(records).where(~records["scenario"].isin(shared_by_all), records["session_id"])


def _prefillers_count(run: RecordedRun) -> pd.DataFrame | None:
    """Cached tokens per scenario and round by the counters of a PD pair's prefiller; None without them."""
    if not run.info.deployment.is_pd or not run.server_metrics:
        return None
    tiers = server_counters.tiers(server_counters.deltas(server_counters.series(run.server_metrics))[0])
    mine = tiers[tiers["role"].eq("prefiller")]
    return mine.assign(cached_tokens=mine["gpu"] + mine["external"])[["scenario", "round", "cached_tokens"]]


def analyse_folder(
    folder: str | Path, slo: Mapping[str, float] | None = None, max_failures: FailureLimit | None = None
) -> Analysis:
    """Everything that is said of a run, from its folder. `slo` and `max_failures` take the place of the run's own."""
    run = load_run(folder)
    limit = max_failures or parse_failure_limit(run.info.max_failures)
    records, evidence_problems = label_run(run)
    client = client_limits.with_certificates(client_limits.lag_by_round(records), run.info.beyond_certificate)
    rounds = _rounds(run, records, client)
    steady = steadiness.steady_state(records)
    servers, server_problems = server_tables(run, rounds)
    problems = [
        *run.problems,
        *evidence_problems,
        *figure_checks.failures(records),
        *client_limits.client_problems(client),
        *server_problems,
    ]
    if run.info.arrival.closed:
        problems += figure_checks.ramp_and_tail(rounds)
    problems += steadiness.steadiness_problems(steady)
    problems += [*answer_checks.answer_problems(records, run.info.scenarios), *figure_checks.sent_late(records)]
    block = run.info.block_size_tokens or windows.BLOCK_SIZE_TOKENS
    distributions = _distributions(records)
    states, state_problems = cache_states(run.info, records, rounds, servers, distributions, block)
    problems += state_problems
    objectives = dict(slo or run.info.deployment.slo)
    account = lost_tokens.account(records, block)
    claims = run_claims.claims_of_run(
        run.info, run.complete, limit, rounds, states["verdicts"], account, servers["counted_prompts"], block
    )
    found = hit_effects.hit_effects(run.info, records, rounds, run.info.arrival.closed)
    effects = claimed.with_claims(answer_checks.withhold(found, answer_checks.unequal_output(records)), claims)
    over_time, over_time_note = _over_time(run, records, block)
    scenarios = list(dict.fromkeys(rounds["scenario"]))
    stats = {
        "kind": KIND,
        "format": STATS_FORMAT,
        "complete": run.complete and limit.allows(int(rounds["failed"].sum()), int(rounds["planned_requests"].sum())),
        "records_complete": run.complete,
        "max_failures": str(limit),
        "claims": [claim.to_dict() for claim in claims.values()],
        "confidence": CONFIDENCE,
        "block_size_tokens": block,
        "split_rules": windows.RULES,
        "run": run.info.raw,
        "problems": [problem.to_dict() for problem in sorted_problems(problems)],
        "rounds": rounds,
        "windows": summary.totals(records, ["scenario", "window"]),
        "windows_by_round": records.groupby(["scenario", "round", "window"], observed=True)
        .size()
        .rename("requests")
        .reset_index(),
        "distributions": distributions,
        "failures": summary.failures(records),
        **states,
        "slo": objectives,
        "goodput": goodput.goodput_table(records, objectives, rounds),
        "effects": effects,
        "targets": targets.judge_run(
            run.info.targets,
            effects,
            scenarios,
            lambda scenario, number: claimed.why_not_judged(claims.get(scenario), number),
            run.info.arrival.closed,
        ),
        "cache": account,
        "cache_over_time": over_time,
        "cache_over_time_note": over_time_note,
        "steady_state": steady,
        "other_tools": other_tools.tool_table(records),
        "outliers": steadiness.outliers(records),
        **servers,
        "ttft_model": _model(records, run.info),
        "samples": _samples(records),
    }
    return Analysis(Path(folder), plain(stats), tier_verdicts.answered_by(records, states["verdicts"]))


def _rounds(run: RecordedRun, records: pd.DataFrame, client: pd.DataFrame) -> pd.DataFrame:
    """The table of rounds: what each was played for, whether the client was in time, and the rate while all users were busy."""
    keys, kinds = ["scenario", "round"], round_kinds(run.info.rounds)
    rounds = summary.round_table(records, run.counts)
    rounds["kind"] = [kinds.get(key, kind_of(key[1])) for key in zip(rounds["scenario"], rounds["round"], strict=True)]
    return rounds.merge(client, on=keys, how="left").merge(busy_time.busy_table(records), on=keys, how="left")


def cache_states(
    info: RunInfo,
    records: pd.DataFrame,
    rounds: pd.DataFrame,
    servers: dict[str, pd.DataFrame],
    distributions: pd.DataFrame,
    block: int,
) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """Which tier answered each round, at what rate it loaded, what that gained, and where the TTFT went; and what stands against it."""
    tiers, moved = servers["tiers"], servers["transfers"]
    kv_bytes, link_gb_per_s = info.model_facts.kv_bytes_per_token, _link_gb_per_s(info)
    verdicts = tier_verdicts.judge(rounds, info, tiers, moved, block)
    rates = arm_effects.load_rates(verdicts, records, kv_bytes, link_gb_per_s, moved)
    tables = {
        "verdicts": verdicts,
        "load_rates": rates,
        "gains": hit_gains.gains(verdicts, rounds, distributions, info, link_gb_per_s),
        "ttft_parts": ttft_parts.ttft_parts(servers["stages"], moved, tiers, distributions, rounds, info.deployment.roles),
        "transfer_efficiency": kv_transfers.efficiency(moved, tiers, kv_bytes),
    }
    hidden = [
        *hidden_failures.hidden_failures(rounds, tiers, moved, block),
        *hidden_failures.slow_puts(verdicts, moved, distributions),
    ]
    lost = never_stored.never_stored(records)
    return tables, [*tier_verdicts.problems_of(verdicts, tiers, lost), *hidden, *arm_effects.implausible(rates)]


def _distributions(records: pd.DataFrame) -> pd.DataFrame:
    """By round (each one), by round window (all hit rounds together) and by evidence, in one table: split, scenario, group, metric."""
    tables = []
    for split, column in (("round", "round"), ("round_window", "round_window"), ("evidence", "window")):
        table = summary.distributions(records, ["scenario", column])
        tables.append(table.rename(columns={column: "group"}).assign(split=split).astype({"group": str}))
    return pd.concat(tables, ignore_index=True)


def with_rounds(analysis: Analysis, kept: set[tuple[str, int]]) -> Analysis:
    """The same run as if it had these rounds alone, for a comparison: rounds, requests, distributions and effects."""
    rounds = analysis.table("rounds")
    rounds = rounds[[key in kept for key in zip(rounds["scenario"], rounds["round"], strict=True)]]
    asked = zip(analysis.requests["scenario"].astype(str), analysis.requests["round"], strict=True)
    requests = analysis.requests[[key in kept for key in asked]]
    if analysis.sampled:
        requests = dependence.add_dependence(requests, requests["session_id"])
    effects = hit_effects.hit_effects(analysis.info, requests, rounds, analysis.info.arrival.closed)
    mine = [
        row for row in analysis.stats["distributions"] if row["split"] == "round" and (row["scenario"], int(row["group"])) in kept
    ]
    pooled = summary.distributions(requests, ["scenario", "round_window"]).rename(columns={"round_window": "group"})
    distributions = [*mine, *plain(pooled.assign(split="round_window").astype({"group": str}))]
    stats = {**analysis.stats, "rounds": plain(rounds), "effects": plain(effects), "distributions": distributions}
    return replace(analysis, stats=stats, requests=requests)


def server_tables(run: RecordedRun, rounds: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """What the servers' own metrics say of each round; empty tables where there are none."""
    series = server_counters.series(run.server_metrics)
    changed, problems = server_counters.deltas(series)
    counted = counted_prompts.counted_prompts(changed, rounds)
    tiers = run_claims.trusted(server_counters.tiers(changed), counted)
    checked = server_counters.check_client_counts(tiers, rounds)
    moved, late = kv_transfers.without_late(kv_transfers.transfers(changed), changed, tiers)
    tables = {
        "tiers": tiers,
        "stages": server_counters.stage_times(changed),
        "transfers": moved,
        "server_counts": checked,
        "counted_prompts": counted,
        "counters": server_counters.counters(changed),
        "gauges": server_counters.gauge_series(series),
    }
    return tables, [*problems, *late, *figure_checks.disagreement(checked), *run_claims.evidence_problems(counted)]


def _over_time(run: RecordedRun, records: pd.DataFrame, block: int) -> tuple[pd.DataFrame, str | None]:
    """Served beside what ideal caches would have served, over the run, and why tiers are missing there."""
    sizes = tier_capacities(run.server_metrics, run.info.model_facts.kv_bytes_per_token, dict(run.info.deployment.capacity))
    return ideal_caches.over_time(records, block, sizes, arms=bool(run.info.arms))


def _model(records: pd.DataFrame, info: RunInfo) -> dict[str, Any]:
    """One model per deployment, over all scenarios."""
    points = ttft_model.fit_points(records)
    fit = ttft_model.fit_ttft(points) if len(points) else None
    return model_statistics.model_stats(fit, info.model_facts.kv_bytes_per_token, points, info.users)


def _link_gb_per_s(info: RunInfo) -> float | None:
    """The configured link's rate, else that of PCIe 5 x16 for each GPU: what no load can exceed. None where no GPU is known of."""
    gpus = info.deployment.gpus
    return info.deployment.link_gb_per_s or (model_statistics.PCIE5_X16_GB_PER_S * gpus if gpus else None)


def _samples(records: pd.DataFrame) -> dict[str, list[Any]]:
    """The requests as columns: all, or whole sessions drawn at random, the same ones in each round."""
    parts = []
    for _, group in records.groupby("scenario", observed=True):
        sizes = group.loc[group["round"].eq(group["round"].min()), "session_id"].value_counts().sort_index()
        drawn = sizes.sample(frac=1, random_state=SEED) if sizes.sum() > SAMPLED_REQUESTS else sizes
        kept = drawn.index[drawn.cumsum() <= SAMPLED_REQUESTS] if sizes.sum() > SAMPLED_REQUESTS else drawn.index
        parts.append(group[group["session_id"].isin(kept)])
    sample = pd.concat(parts) if parts else records
    rounded = sample[SAMPLE_COLUMNS].round(3)
    return {column: [plain(value) for value in rounded[column].tolist()] for column in SAMPLE_COLUMNS}


def open_stats(path: str | Path) -> Analysis:
    """An Analysis from stats.json; its requests from the records beside it where they are, else the sample inside it."""
    file = Path(path) / "stats.json" if Path(path).is_dir() else Path(path)
    stats = read_stats(file)
    if (file.parent / "records.jsonl").is_file() and (file.parent / "run.json").is_file():
        requests, _ = label_run(load_run(file.parent))
        return Analysis(file.parent, stats, requests)
    sample = pd.DataFrame(stats["samples"], columns=SAMPLE_COLUMNS)
    numbers = [name for name in SAMPLE_COLUMNS if name.endswith(("_ms", "_s", "_tokens"))]
    sample = sample.astype(dict.fromkeys(numbers, np.float64)).astype({"ok": bool})
    return Analysis(file.parent, stats, sample, sampled=True)


def open_run(path: Path) -> Analysis:
    """A folder is analysed anew; a stats.json is taken as it stands."""
    return analyse_folder(path) if path.is_dir() else open_stats(path)
