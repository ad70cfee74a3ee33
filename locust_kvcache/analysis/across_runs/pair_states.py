"""Chooses the cache states on which PD is judged against the single server, and drops those without evidence.

A mean over cold and hit rounds is the figure of neither: a target holds where it holds in the worst of the states that both have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs import cache_states
from locust_kvcache.analysis.cache.claimed import UNSERVED
from locust_kvcache.analysis.cache.round_evidence import HIT, SERVED
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.stats import targets
from locust_kvcache.analysis.tables.claim_words import arm_words, claim_of, kind_of
from locust_kvcache.analysis.tables.table import find, scenarios
from locust_kvcache.contract import exit_codes
from locust_kvcache.contract.round_kinds import HIT as LATER
from locust_kvcache.contract.targets import PD_HIT

NO_FIGURES = (exit_codes.CLIENT_LATE.name, exit_codes.INCOMPLETE.name, exit_codes.FAILURES.name, exit_codes.NOT_COMPARABLE.name)


def judged(
    wanted: Mapping[str, Any],
    single: Sequence[Analysis],
    pd_runs: Sequence[Analysis],
    scenarios: list[str],
    effects_of: Callable[[str, str], pd.DataFrame],
) -> list[dict[str, Any]]:
    """PD's targets against the single server; `effects_of` makes the table of a target and a window, with PD as its contender."""
    states = {target: states_of(target, [*single, *pd_runs]) for target in targets.PAIR_TARGETS}
    tables = {
        target: {words: effects_of(target, window) for words, window in found.items()}
        for target, found in states.items()
        if wanted.get(target) is not None
    }

    def forbidden(target: str, words: str, scenario: str) -> str:
        return why_not(target, single, pd_runs, scenario, states[target][words])

    return targets.judge_pair(wanted, tables, scenarios, forbidden)


def states_of(target: str, runs: Sequence[Analysis]) -> dict[str, str]:
    """Words for a state -> its window (cache_states.windows_of). The target on hits leaves out cold, and names no state where there is
    one. Empty where the runs have states after cold, and none of them in common."""
    windows = cache_states.windows_of(runs)
    later = [window for window in windows if window != "cold" and all(rounds_of(run, window) for run in runs)]
    if target == PD_HIT:
        return {"" if windows == cache_states.COLD_AND_HIT else arm_words(window): window for window in windows[1:]}
    if not later and len(windows) == 1:
        return {}
    return {"cold": "cold"} | {_words(runs, window): window for window in later}


def _words(runs: Sequence[Analysis], window: str) -> str:
    """hit, only where the evidence of all runs calls the later rounds so."""
    if window not in cache_states.COLD_AND_HIT:
        return arm_words(window)
    hits = all(claim_of(run.stats, name)["later"] == "hit" for run in runs for name in scenarios(run.stats))
    return "hit" if hits else "later rounds"


def rounds_of(run: Analysis, window: str, scenario: str | None = None) -> list[tuple[str, int]]:
    """Scenario and number of each round of a window."""
    rows = run.stats["rounds"] if scenario is None else find(run.stats["rounds"], scenario=scenario)
    if window == "cold":
        return [(row["scenario"], row["round"]) for row in rows if row["round"] == 1]
    if window == "hit":
        return [(row["scenario"], row["round"]) for row in rows if row["round"] > 1 and kind_of(row) == LATER]
    number = cache_states.rounds_of(run)[window]
    return [(row["scenario"], row["round"]) for row in rows if row["round"] == number]


def why_not(target: str, single: Sequence[Analysis], pd_runs: Sequence[Analysis], scenario: str, window: str) -> str:
    """Why a target of the pair is not judged on a state of a scenario; empty where it is.

    Whole figures are needed of both sides; of a target on hits, PD's rounds of that state must have been hits by evidence.
    """
    for run in (*single, *pd_runs):
        claim = claim_of(run.stats, scenario)
        if claim["cause"] in NO_FIGURES:
            return f"{run.info.deployment.name}: {claim['why_not_judged']}"
    if target != PD_HIT:
        return ""
    served = [
        how
        for run in pd_runs
        for number, how, _ in claim_of(run.stats, scenario)["rounds"]
        if (scenario, number) in rounds_of(run, window, scenario)
    ]
    return UNSERVED.get(max(served, key=SERVED.index, default=HIT), "")
