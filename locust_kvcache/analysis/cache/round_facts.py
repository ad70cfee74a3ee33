"""Collects the facts of each round that decide its claims, one list per scenario."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.cache.round_evidence import ALL_SEEN, CONTAMINATED, SEEN, RoundFacts, is_shared
from locust_kvcache.analysis.reading.run_info import RoundInfo
from locust_kvcache.analysis.servers.ttft_parts import CHUNK_TOKENS
from locust_kvcache.contract.round_kinds import COLD, HIT

MISSED = 4  # times an unseen round's share, that another round's must be for the servers to have been passed by
Row = dict[str, Any]
Key = tuple[str, int]


def round_kinds(entries: Iterable[RoundInfo]) -> dict[Key, str]:
    """cold, control or hit, by run.json; where it does not say: the first round of a scenario is cold, the others repeat it."""
    return {(entry.scenario, entry.number): entry.kind or kind_of(entry.number) for entry in entries}


def kind_of(number: int) -> str:
    return COLD if number == 1 else HIT


def unseen_rounds(counted: pd.DataFrame) -> set[Key]:
    """Rounds of whose prompt tokens the servers' counters saw hardly any: those counters say nothing of them."""
    return {
        (row["scenario"], row["round"]) for row in rows_of(counted) if row["seen_share"] is not None and row["seen_share"] < SEEN
    }


def shared_rounds(counted: pd.DataFrame, rounds: pd.DataFrame) -> set[Key]:
    """Rounds of servers that met far more prompt tokens than were sent: their counters are of other requests, too.

    A prefiller's counters stay: what the answers report in their place are a decoder's, which counts KV that it was handed as cached.
    """
    told = _by_key(rounds)
    found = set[Key]()
    for row in rows_of(counted[counted["role"].eq("server")]):
        key = (row["scenario"], row["round"])
        if key in told and is_shared(row["seen_share"], int(told[key]["requests"]), int(told[key]["failed"])):
            found.add(key)
    return found


def part_rounds(counted: pd.DataFrame) -> set[Key]:
    """Rounds of which the servers' counters saw a part: other engines, whose pages are not named, answered the rest."""
    share = counted["seen_share"].astype(float)
    mine = counted[share.ge(SEEN) & share.lt(ALL_SEEN[0])]
    return {(row["scenario"], row["round"]) for row in rows_of(mine)}


def told_by_answers(counted: pd.DataFrame, rounds: pd.DataFrame) -> set[Key]:
    """Rounds of servers that saw a part, whose answers all report their cached tokens. A prefiller's answers are a decoder's."""
    told, mine = _by_key(rounds), part_rounds(counted[counted["role"].eq("server")])
    return {key for key in mine if key in told and told[key].get("reported_cached_tokens") is not None}


def idle_scenarios(counted: pd.DataFrame) -> set[str]:
    """Scenarios in none of whose rounds the counters moved with the load: the page is another server's, or one engine's of very many,
    whose share is above SEEN in one round by chance, and below it in the next."""
    unseen = unseen_rounds(counted)
    shares = {(row["scenario"], row["round"]): row["seen_share"] for row in rows_of(counted) if row["seen_share"] is not None}
    best = {scenario: max(share for key, share in shares.items() if key[0] == scenario) for scenario, _ in unseen}
    missed = {scenario for scenario, number in unseen if best[scenario] >= max(SEEN, MISSED * shares[scenario, number])}
    return {scenario for scenario, _ in unseen} - missed


def facts_of(
    rounds: pd.DataFrame, verdicts: pd.DataFrame, account: pd.DataFrame, counted: pd.DataFrame, loads: pd.DataFrame,
    kinds: dict[Key, str], block: int,
) -> dict[str, list[RoundFacts]]:  # fmt: skip
    """`rounds` holds the round table with `late` (why the client's times are not valid); `account` where the cached tokens went."""
    judged, lost, seen, users = (_by_key(table) for table in (verdicts, account, counted, loads))
    idle = idle_scenarios(counted)
    found: dict[str, list[RoundFacts]] = {}
    for row in rows_of(rounds):
        key = (row["scenario"], row["round"])
        share = None if key[0] in idle else seen.get(key, {}).get("seen_share")
        facts = _facts(row, judged.get(key, {}), lost.get(key, {}), block)
        known = users.get(key, {}).get("users")
        facts = replace(
            facts, kind=kinds.get(key, kind_of(key[1])), seen_share=share, users=None if known is None else int(known)
        )
        found.setdefault(key[0], []).append(facts)
    return found


def _by_key(table: pd.DataFrame) -> dict[Key, Row]:
    return {(row["scenario"], row["round"]): row for row in rows_of(table)}


def _facts(row: Row, verdict: Row, lost: Row, block: int) -> RoundFacts:
    requests = row["succeeded"] or 0
    counted = _counted_prompt(verdict)
    prompt = verdict.get("prompt_tokens") if counted is None else counted
    return RoundFacts(
        number=row["round"],
        planned=int(row["planned_requests"] or 0),
        recorded=int(row["requests"]),
        failed=int(row["failed"]),
        causes=tuple((row.get("failed_by_cause") or {}).items()),
        late=str(row.get("late") or ""),
        contaminated=verdict.get("verdict") == CONTAMINATED,
        prompt_tokens=prompt,
        cached_known=int(row.get("cached_known") or 0),
        cached_tokens=verdict.get("cached_tokens"),
        allowed_tokens=_allowed(verdict, lost, requests, block),
        slack_tokens=float(block * requests),
        evidence=str(verdict.get("evidence") or "").partition(",")[0],  # without what a canary says
    )


def _allowed(verdict: Row, lost: Row, requests: int, block: int) -> float | None:
    """What the plan allows, less what the cache's own blocks leave out: as accounted for, else up to a chunk below the GPU."""
    allowed = verdict.get("allowed_tokens")
    if allowed is None:
        return None
    below = (verdict.get("below_tokens") or 0) > 0
    coarse = lost.get("lost_granularity") or (max(0, CHUNK_TOKENS - block) * requests if below else 0)
    return max(0.0, float(allowed) - float(coarse)) * _counted_share(verdict)


def _counted_share(verdict: Row) -> float:
    """Of the prompt tokens, what the counters that are the evidence saw: one of several replicas counts its own requests only."""
    counted, sent = _counted_prompt(verdict), verdict.get("prompt_tokens")
    return min(1.0, counted / sent) if counted is not None and sent else 1.0


def _counted_prompt(verdict: Row) -> float | None:
    counted = [verdict.get(name) for name in ("gpu_tokens", "below_tokens", "computed_tokens")]
    return None if None in counted else float(sum(value or 0.0 for value in counted))
