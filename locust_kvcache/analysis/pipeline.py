"""Analyses a run's folder from end to end: records to labelled requests to statistics.

Statistics are a dict of tidy tables, exactly as they stand in stats.json, so that a report is the same from memory and from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis import request_tables
from locust_kvcache.analysis.basics.plain_values import plain, rows_of
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.cache import (
    claimed,
    hit_effects,
    hit_rate_target,
    lost_tokens,
    run_claims,
    server_evidence,
    tier_verdicts,
    windows,
)
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.reading import timed
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.reading.runs import RecordedRun, load_run
from locust_kvcache.analysis.reading.stats_file import KIND, STATS_FORMAT, read_stats
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.round_rows import round_rows, rows_of_rounds
from locust_kvcache.analysis.servers import gpu_energy
from locust_kvcache.analysis.stats import (
    answer_checks,
    client_limits,
    cost,
    drift,
    few_slow,
    figure_checks,
    file_checks,
    goodput,
    sample,
    steadiness,
    summary,
    targets,
)
from locust_kvcache.analysis.stats.intervals import CONFIDENCE
from locust_kvcache.contract.failure_limit import FailureLimit, parse_failure_limit
from locust_kvcache.contract.record_files import record_files


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


@pd.option_context("mode.string_storage", "python")  # pyarrow's strings are slow in small tables, and big ones have categories
def analyse_folder(
    folder: str | Path, slo: Mapping[str, float] | None = None, max_failures: FailureLimit | None = None
) -> Analysis:
    """Everything that is said of a run, from its folder. `slo` and `max_failures` take the place of the run's own."""
    with unusable_is_bad_input(Path(folder)):
        return _analyse(load_run(folder), slo, max_failures)


def _analyse(run: RecordedRun, slo: Mapping[str, float] | None, max_failures: FailureLimit | None) -> Analysis:
    limit = max_failures or parse_failure_limit(run.info.max_failures)
    all_records, evidence_problems = label_run(run)
    records = timed.measured(all_records)  # of timed rounds; times and rates are theirs, what the caches did is told of all
    client = client_limits.with_certificates(client_limits.lag_by_round(records), run.info.beyond_certificate)
    rounds = timed.with_times(round_rows(run, records, client), all_records, run.info)
    all_rounds = rounds if records is all_records else rows_of_rounds(run.info, all_records, run.counts, client)
    block = run.info.block_size_tokens or windows.BLOCK_SIZE_TOKENS
    steady, distributions = steadiness.steady_state(records), request_tables.distributions(records)
    servers, server_problems = server_evidence.server_tables(run, all_rounds)
    states, state_problems = server_evidence.cache_states(run.info, all_records, all_rounds, servers, distributions, block)
    problems = [
        *run.problems,
        *evidence_problems,
        *_figure_problems(run.info, records, rounds, client, server_problems, steady),
        *(timed.open_at_end(records) if run.info.timed_rounds else []),
        *state_problems,
    ]
    drifts, changed = drift.over_time(records, run.info.timed_rounds)
    problems += drift.change_problems(changed)
    rejected = windows.are_rejected([*run.problems, *evidence_problems])
    slow = few_slow.few_slow(records)
    problems += few_slow.slow_problems(slow, steadiness.slow_starts(steady))
    judged = _judged(run, limit, records, rounds, all_records, all_rounds, servers, states, block, rejected, slow)
    stats = {
        **_outcome(run, limit, rounds, block),
        **judged,
        **request_tables.described(run, records, block),
        **states,
        **servers,
        "problems": [problem.to_dict() for problem in sorted_problems(problems)],
        "rounds": rounds,
        "distributions": distributions,
        "steady_state": steady,
        "drift": drifts,
        "change_points": changed,
        **_goodput(run.info, records, rounds, slo),
        **_cost(run.info, rounds, servers["energy"], states["verdicts"], judged["claims"]),
    }
    return Analysis(run.folder, plain(stats), tier_verdicts.answered_by(records, states["verdicts"]))


def _figure_problems(
    info: RunInfo,
    records: pd.DataFrame,
    rounds: pd.DataFrame,
    client: pd.DataFrame,
    server_problems: list[Problem],
    steady: pd.DataFrame,
) -> list[Problem]:
    """What weakens the figures, in the order in which findings of one severity are shown."""
    return [
        *figure_checks.failures(records),
        *figure_checks.outages(info.warnings),
        *figure_checks.balanced(info.warnings),
        *client_limits.client_problems(client),
        *server_problems,
        *(figure_checks.ramp_and_tail(rounds) if info.arrival.closed else []),
        *steadiness.steadiness_problems(steady),
        *answer_checks.answer_problems(records, info.scenarios),
        *file_checks.file_problems(info.scenarios, info.seed),
        *figure_checks.sent_late(records),
    ]


def _outcome(run: RecordedRun, limit: FailureLimit, rounds: pd.DataFrame, block: int) -> dict[str, Any]:
    """What was run, whether it is complete, and the rules of the analysis."""
    allowed = limit.allows(int(rounds["failed"].sum()), int(rounds["planned_requests"].sum()))
    return {
        "kind": KIND,
        "format": STATS_FORMAT,
        "complete": run.complete and allowed,
        "records_complete": run.complete,
        "max_failures": str(limit),
        "confidence": CONFIDENCE,
        "block_size_tokens": block,
        "split_rules": windows.RULES,
        "run": run.info.raw,
    }


def _judged(
    run: RecordedRun,
    limit: FailureLimit,
    records: pd.DataFrame,
    rounds: pd.DataFrame,
    all_records: pd.DataFrame,
    all_rounds: pd.DataFrame,
    servers: dict[str, pd.DataFrame],
    states: dict[str, pd.DataFrame],
    block: int,
    rejected: bool,
    slow: dict[few_slow.Key, few_slow.FewSlow],
) -> dict[str, Any]:
    """What may be claimed of each scenario, and the effects and targets under that claim."""
    account = lost_tokens.account(all_records, block)
    buffered = answer_checks.buffered_rounds(all_records)
    facts = run_claims.facts_of_run(
        run.info, all_rounds, states["verdicts"], account, servers["counted_prompts"], block, buffered, rejected, slow
    )
    claims = run_claims.claims_of_run(facts, run.complete, limit, run.info.arrival.closed)
    no_ttft = {scenario: "TTFT includes decode time: answers were buffered on their way" for scenario, _ in buffered}
    closed = run.info.arrival.closed
    effects = hit_effects.judged_effects(run.info, records, rounds, claims)
    late = not closed and bool(figure_checks.sent_late(records))  # then a target counts from the intended time
    of_targets = hit_effects.judged_effects(run.info, summary.from_intended(records), rounds, claims) if late else effects

    def why_not(scenario: str, number: int | None) -> str:
        return claimed.why_not_judged(claims.get(scenario), number)

    scenarios = list(dict.fromkeys(rounds["scenario"]))
    return {
        "claims": [claim.to_dict() for claim in claims.values()],
        "effects": effects,
        "targets": [
            *hit_rate_target.judge(run.info.targets, facts, run.complete, limit, bool(run.info.arms)),
            *targets.judge_run(run.info.targets, of_targets, scenarios, why_not, closed, late, no_ttft),
        ],
        "cache": account,
    }


def _goodput(info: RunInfo, records: pd.DataFrame, rounds: pd.DataFrame, slo: Mapping[str, float] | None) -> dict[str, Any]:
    """The objectives in force (those given now, else the deployment's), and the requests that kept them."""
    objectives = dict(slo or info.deployment.slo)
    return {"slo": objectives, "goodput": goodput.goodput_table(records, objectives, rounds)}


def _cost(
    info: RunInfo, rounds: pd.DataFrame, energy: pd.DataFrame, verdicts: pd.DataFrame, claims: list[dict[str, Any]]
) -> dict[str, Any]:
    """Money and energy of each round, and the break-even of what is stored."""
    weak = {claim["scenario"]: claim["why_not_judged"] for claim in claims if not (claim["valid"] and claim["credited"])}
    of, prices = info.deployment, (info.deployment.price_per_gpu_hour, info.deployment.price_per_gb_month)
    kv_bytes = info.model_facts.kv_bytes_per_token
    return {
        "cost": cost.cost_rows(rounds, gpu_energy.by_round(energy), of.gpus, of.price_per_gpu_hour),
        "break_even": cost.break_even(rounds, rows_of(verdicts), info.arrival.closed, of.gpus, *prices, kv_bytes, weak),
    }


def open_stats(path: str | Path) -> Analysis:
    """An Analysis from stats.json; its requests from the records beside it where they are, else the sample inside it."""
    file = Path(path) / "stats.json" if Path(path).is_dir() else Path(path)
    with unusable_is_bad_input(file):
        return _open_stats(file)


def _open_stats(file: Path) -> Analysis:
    stats = read_stats(file)
    if record_files(file.parent) and (file.parent / "run.json").is_file():
        requests, _ = label_run(load_run(file.parent))
        return Analysis(file.parent, stats, timed.measured(requests))
    return Analysis(file.parent, stats, sample.requests_of(stats["samples"]), sampled=True)


def open_run(path: Path) -> Analysis:
    """A folder is analysed anew; a stats.json is taken as it stands."""
    return analyse_folder(path) if path.is_dir() else open_stats(path)
