"""Makes the tables that rest on the servers' own metrics: counts per round, the tier that answered, the parts of the TTFT."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache import arm_effects, hit_gains, never_stored, run_claims, tier_verdicts
from locust_kvcache.analysis.model import model_statistics
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.servers import (
    counted_prompts,
    engine_lives,
    engines,
    gpu_energy,
    hidden_failures,
    kv_transfers,
    router_counters,
    server_counters,
    ttft_parts,
)
from locust_kvcache.analysis.stats import figure_checks


def server_tables(run: RecordedRun, rounds: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """What the servers' own metrics say of each round; empty tables where there are none."""
    series = server_counters.series(run.server_metrics)
    changed, problems = server_counters.deltas(series)
    counted = counted_prompts.counted_prompts(changed, rounds)
    tiers = run_claims.trusted(server_counters.tiers(changed), counted, rounds)
    checked = server_counters.check_client_counts(tiers, rounds)
    by_engine = engines.engine_table(changed, series, run.info.deployment.engine_names)
    balance = engines.balance_table(by_engine)
    moved, late = kv_transfers.without_late(kv_transfers.transfers(changed), changed, tiers)
    tables = {
        "tiers": tiers,
        "stages": server_counters.stage_times(changed),
        "transfers": moved,
        "server_counts": checked,
        "counted_prompts": counted,
        "counters": server_counters.counters(changed),
        "gauges": server_counters.gauge_series(series),
        "energy": gpu_energy.energy(series),
        "engines": by_engine,
        "balance": balance,
    }
    lives = engine_lives.lives_problems(run.server_metrics, run.info.deployment.engine_names)
    found = [*problems, *lives, *late, *figure_checks.disagreement(checked), *run_claims.evidence_problems(counted, rounds)]
    return tables, [*found, *engines.balance_problems(balance), *router_counters.router_problems(changed)]


def cache_states(
    info: RunInfo,
    records: pd.DataFrame,
    rounds: pd.DataFrame,
    servers: dict[str, pd.DataFrame],
    distributions: pd.DataFrame,
    block: int,
) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """Which tier answered each round, at what rate it loaded, what that gained, and where the TTFT went; and what weakens it."""
    tiers, moved = servers["tiers"], servers["transfers"]
    kv_bytes, link = info.model_facts.kv_bytes_per_token, link_gb_per_s(info)
    verdicts = tier_verdicts.judge(rounds, info, tiers, moved, block)
    rates = arm_effects.load_rates(verdicts, records, kv_bytes, link, moved)
    tables = {
        "verdicts": verdicts,
        "load_rates": rates,
        "gains": hit_gains.gains(verdicts, rounds, distributions, info, link),
        "ttft_parts": ttft_parts.ttft_parts(servers["stages"], moved, tiers, distributions, rounds, info.deployment.roles),
        "transfer_efficiency": kv_transfers.efficiency(moved, tiers, kv_bytes),
    }
    hidden = [
        *hidden_failures.hidden_failures(rounds, tiers, moved, block),
        *hidden_failures.slow_puts(verdicts, moved, distributions),
    ]
    lost = never_stored.never_stored(records)
    slow = arm_effects.below_break_even(rates)
    return tables, [*tier_verdicts.problems_of(verdicts, tiers, lost), *hidden, *arm_effects.implausible(rates), *slow]


def link_gb_per_s(info: RunInfo) -> float | None:
    """The configured link's rate, else that of PCIe 5 x16 for each GPU: what no load can exceed. None where no GPU is known of."""
    gpus = info.deployment.gpus
    return info.deployment.link_gb_per_s or (model_statistics.PCIE5_X16_GB_PER_S * gpus if gpus else None)
