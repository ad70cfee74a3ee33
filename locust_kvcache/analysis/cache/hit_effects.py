"""Computes what a hit changes: by round, by evidence, by arm, and against a control."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.cache import arm_effects, claimed
from locust_kvcache.analysis.cache.claims import Claim
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.stats import answer_checks, comparison, dependence, pairing, timed_comparison, verdicts
from locust_kvcache.contract.round_kinds import COLD, CONTROL, HIT

TIMED = list(dict.fromkeys([*timed_comparison.NEEDED, *comparison.METRICS]))


def judged_effects(info: RunInfo, records: pd.DataFrame, rounds: pd.DataFrame, claims: Mapping[str, Claim]) -> pd.DataFrame:
    """`hit_effects` with the verdicts that unequal output and the claims leave standing."""
    found = hit_effects(info, records, rounds, info.arrival.closed)
    return claimed.with_claims(answer_checks.withhold(found, answer_checks.unequal_output(records)), claims)


def hit_effects(info: RunInfo, records: pd.DataFrame, rounds: pd.DataFrame, closed: bool) -> pd.DataFrame:
    """Effects of a hit by both rules, and of the control and against it where there is one; throughput has none by evidence, as
    windows by evidence overlap in time."""
    tables = [arm_effects.arm_effects(info, records, rounds, closed)]
    control, timed = rounds["kind"].eq(CONTROL).any(), bool(info.timed_rounds)
    if control:
        tables.append(_between(records, rounds, COLD, CONTROL, closed, timed).assign(split=claimed.CONTROL))
    if not arm_effects.arms_of(info):  # arms are answered by different tiers: pooled they are the effect of none
        tables.append(_between(records, rounds, COLD, HIT, closed, timed).assign(split=claimed.ROUND))
        if control:
            tables.append(_between(records, rounds, CONTROL, HIT, closed, timed).assign(split=claimed.AGAINST_CONTROL))
        tables.append(_by_evidence(records, timed).assign(split=claimed.EVIDENCE))
    return verdicts.add_verdicts(_stack(*tables))


def _by_evidence(records: pd.DataFrame, timed: bool) -> pd.DataFrame:
    if not timed:
        return comparison.effects(pairing.pair_windows(records))
    mine = records["round_window"].ne(CONTROL)
    cold, hit = (chosen(records, mine & records["window"].eq(kind), TIMED) for kind in ("cold", "hit"))
    return timed_comparison.effects(cold, hit)


def _between(
    records: pd.DataFrame, rounds: pd.DataFrame, baseline: str, contender: str, closed: bool, timed: bool
) -> pd.DataFrame:
    """Effects from the rounds of one kind to those of another: on the same planned requests, or of timed rounds on all of each."""
    if timed:
        first, later = (chosen(records, records["round_window"].eq(kind), TIMED) for kind in (baseline, contender))
        latencies = timed_comparison.effects(first, later)
    else:
        latencies = comparison.effects(pairing.pair_rounds(records, baseline, contender))
    before, after = (rounds[rounds["kind"].eq(kind)] for kind in (baseline, contender))
    return _stack(latencies, comparison.rate_effects(before, after, latencies, closed, dependence.paused(records)))


def _stack(*tables: pd.DataFrame) -> pd.DataFrame:
    """concat that keeps the columns of an empty table and does not let it change the others' types."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]
