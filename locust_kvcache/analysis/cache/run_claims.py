"""Makes the claim of each scenario of a run, and a Problem for each thing that weakens the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.number_text import percent
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache.claims import Claim, decide
from locust_kvcache.analysis.cache.round_evidence import RoundFacts
from locust_kvcache.analysis.cache.round_facts import (
    facts_of,
    idle_scenarios,
    part_rounds,
    round_kinds,
    shared_rounds,
    told_by_answers,
    unseen_rounds,
)
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.stats.busy_time import loads
from locust_kvcache.analysis.stats.few_slow import FewSlow
from locust_kvcache.contract.failure_limit import FailureLimit


def facts_of_run(
    info: RunInfo,
    rounds: pd.DataFrame,
    verdicts: pd.DataFrame,
    account: pd.DataFrame,
    counted: pd.DataFrame,
    block: int,
    buffered: Mapping[tuple[str, int], tuple[int, int]],
    rejected: bool = False,
    slow: Mapping[tuple[str, int], FewSlow] | None = None,
) -> dict[str, list[RoundFacts]]:
    """By scenario. `rounds` is the table of rounds with `late` and the columns of busy_time; `buffered` and `slow` are by scenario and
    round; `rejected`: the cached tokens of the answers cannot be true and were removed."""
    users = loads(rounds, {(entry.scenario, entry.number): entry.users for entry in info.rounds if entry.users is not None})
    facts = facts_of(rounds, verdicts, account, counted, users, round_kinds(info.rounds), block)
    return {
        scenario: [
            replace(
                each,
                buffered=buffered.get((scenario, each.number), (0, 0))[0],
                rejected=rejected,
                few_slow=(slow or {}).get((scenario, each.number)),
            )
            for each in mine
        ]
        for scenario, mine in facts.items()
    }


def claims_of_run(
    facts: Mapping[str, Sequence[RoundFacts]], complete: bool, limit: FailureLimit, closed: bool
) -> dict[str, Claim]:
    """By scenario."""
    of_run = [one for mine in facts.values() for one in mine]
    return {scenario: decide(scenario, mine, complete, limit, closed, of_run) for scenario, mine in facts.items()}


def trusted(tiers: pd.DataFrame, counted: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """The tiers without those of rounds that the servers did not see, or met among others: their counters are of other requests. Nor
    those of one engine of several where the answers tell of all."""
    unseen = unseen_rounds(counted) | shared_rounds(counted, rounds) | told_by_answers(counted, rounds)
    keys, idle = zip(tiers["scenario"], tiers["round"], strict=True), idle_scenarios(counted)
    seen = pd.Series([key not in unseen and key[0] not in idle for key in keys], index=tiers.index, dtype=bool)
    return tiers[seen]


def _seen_in_part(row: dict[str, Any]) -> Problem:
    text = (
        f"Round {row['round']} of {row['scenario']}: the pages of role {row['role']} counted {percent(row['seen_share'])} of the prompt "
        "tokens that were sent; engines whose pages are not listed or did not answer got the rest. So these counters do not cover the "
        "whole round."
    )
    todo = "Name each engine's own page under `engines` in the deployment file; a balancer's address shows one of them (docs/routers.md)."
    return Problem("warning", "seen_in_part", text, todo)


def evidence_problems(counted: pd.DataFrame, rounds: pd.DataFrame) -> list[Problem]:
    """Counters that did not move with the load: another server's page, an answer from before the servers, or others' requests."""
    idle, found = idle_scenarios(counted), []
    if idle:
        where = ", ".join(sorted(idle))
        text = f"The servers' metrics page did not change with the requests of {where}: its counters are not used."
        found.append(
            Problem(
                "warning", "idle_page", text, "Check that `metrics` in the deployment file lists the servers behind the endpoint."
            )
        )
    for row in rows_of(counted):
        if row["scenario"] in idle:
            continue
        if (row["scenario"], row["round"]) in unseen_rounds(counted):
            text = (
                f"Round {row['round']} of {row['scenario']} did not reach the servers: they counted {percent(row['seen_share'])} of the "
                "prompt tokens that were sent."
            )
            todo = "Did a gateway with its own cache answer? Switch that cache off, or send the requests directly to the servers."
            found.append(Problem("warning", "not_seen", text, todo))
        elif (row["scenario"], row["round"]) in shared_rounds(counted, rounds):
            text = (
                f"Round {row['round']} of {row['scenario']}: the servers counted {percent(row['seen_share'])} of the prompt tokens that "
                "were sent, so their counters are of other requests too, and no evidence of this round."
            )
            todo = "Measure again when no one else uses these servers."
            found.append(Problem("warning", "shared_servers", text, todo))
        elif (row["scenario"], row["round"]) in part_rounds(counted):
            found.append(_seen_in_part(row))
    return found
