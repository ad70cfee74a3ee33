"""Finds the cache states (--arms) of several runs, so that a GPU hit is compared only with a GPU hit.

A mean over a GPU hit and a store hit is the figure of neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache.arm_effects import arms_of
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.contract.round_kinds import COLD, CONTROL

COLD_AND_HIT = ("cold", "hit")


def rounds_of(run: Analysis) -> dict[str, int]:
    """State -> round, of the rounds after cold; of a state that is played twice its first round."""
    played = {int(row["round"]) for row in run.stats["rounds"]}
    found: dict[str, int] = {}
    for number, arm in arms_of(run.info).items():
        if number > 1 and arm not in (COLD, CONTROL) and number in played:
            found.setdefault(arm, number)
    return found


def states_after_cold(runs: Sequence[Analysis]) -> tuple[str, ...]:
    """Of all runs, where one mean over the later rounds would be of several cache states; else nothing."""
    states = tuple(dict.fromkeys(state for run in runs for state in rounds_of(run)))
    return states if len(states) > 1 else ()


def windows_of(runs: Sequence[Analysis]) -> tuple[str, ...]:
    """What is compared: cold and hit; or, where there are several states, cold and each state that all runs have."""
    states = states_after_cold(runs)
    return ("cold", *(state for state in states if all(state in rounds_of(run) for run in runs))) if states else COLD_AND_HIT


def unshared(runs: Sequence[Analysis]) -> tuple[str, ...]:
    """States that some run lacks: a mean over all rounds is of other states in each run."""
    return tuple(state for state in states_after_cold(runs) if state not in windows_of(runs))


def unshared_problems(runs: Sequence[Analysis]) -> list[Problem]:
    """A warning with the states that some run lacks: they are compared with nothing, and judged by nothing across runs."""
    missing = [arm_words(state) for state in unshared(runs)]
    if not missing:
        return []
    text = f"Not compared and not judged: {' and '.join(missing)}, which not every run has."
    return [Problem("warning", "arms_not_shared", text, "Give the runs the same --arms.")]
