"""Judges each round by the servers' counters: whether cold was cold, and which tier answered a hit.

A round's name (cold, gpu_hit, store_hit) is an intention. Verdicts go by evidence: counters of the role that looks prompts up (prefiller,
else server), else the cached tokens that answers reported and that were not rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import group_masks
from locust_kvcache.analysis.basics.number_text import percent
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache.never_stored import NeverStored
from locust_kvcache.analysis.cache.round_evidence import ALL_SEEN, CONTAMINATED, FULL, LEAST
from locust_kvcache.analysis.cache.round_facts import kind_of, round_kinds
from locust_kvcache.analysis.reading.run_info import RoundInfo, RunInfo
from locust_kvcache.analysis.servers.kv_transfers import LOAD
from locust_kvcache.contract.round_kinds import sends_new_prompts

COLD, BY_NONCE, UNKNOWN, NO_HIT = "cold proven", "cold by nonce", "unknown", "nothing hit"
DOMINANT = 0.9  # share of the cached tokens that one tier must have served to give its name
WANTED_TIER = {"gpu_hit": "gpu", "cpu_hit": "cpu", "disk_hit": "disk", "store_hit": "store"}
LOOKUP_ROLES = ("prefiller", "server")
TOKENS = ("prompt_tokens", "cached_tokens", "allowed_tokens", "gpu_tokens", "below_tokens", "computed_tokens")
COLUMNS = ("scenario", "round", "arm", "verdict", "tier", *TOKENS, "evidence", "text")
Facts = dict[str, Any]


def judge(rounds: pd.DataFrame, info: RunInfo, tiers: pd.DataFrame, traffic: pd.DataFrame, block: int) -> pd.DataFrame:
    """One row per scenario and round (COLUMNS); tokens are sums over the round."""
    entries = {(entry.scenario, entry.number): entry for entry in info.rounds}
    kinds = round_kinds(info.rounds)
    rows = []
    for row in rows_of(rounds):
        key = (row["scenario"], row["round"])
        kind, from_store = kinds.get(key, kind_of(key[1])), _read_from_store(row, traffic)
        rows.append(_judge_round(row, kind, entries.get(key), _source(row, tiers), from_store, block, info.nonce_given))
    return pd.DataFrame(rows, columns=COLUMNS)


def _source(row: Facts, tiers: pd.DataFrame) -> Facts | None:
    """Tokens by source of the role that looks prompts up; None without its counters."""
    mine = tiers[tiers["scenario"].eq(row["scenario"]) & tiers["round"].eq(row["round"])]
    for role in LOOKUP_ROLES:
        found = mine[mine["role"].eq(role)]
        if len(found):
            return {key: float(found[key].sum()) for key in ("gpu", "external", "computed", "host", "disk") if key in found} | {
                "role": role
            }
    return None


def _read_from_store(row: Facts, traffic: pd.DataFrame) -> bool:
    mine = traffic[
        traffic["scenario"].eq(row["scenario"]) & traffic["round"].eq(row["round"]) & traffic["via"].eq("Mooncake store")
    ]
    return bool((mine["kind"].eq(LOAD) & (mine["bytes"] > 0)).any())


def _judge_round(
    row: Facts, kind: str, entry: RoundInfo | None, source: Facts | None, from_store: bool, block: int, nonce_given: bool
) -> Facts:
    named = entry.arm if entry else None
    arm = "cold" if sends_new_prompts(kind) else named
    requests = row["succeeded"] or 0
    allowed, sent, share = row["planned_cached_tokens"], row["prompt_tokens"], 1.0
    found: Facts = {key: row[key] for key in ("scenario", "round", "prompt_tokens")} | {"arm": named, "tier": None}
    found |= dict.fromkeys(("gpu_tokens", "below_tokens", "computed_tokens"))
    if source is not None:
        cached, counted = source["gpu"] + source["external"], source["gpu"] + source["external"] + source["computed"]
        share = min(1.0, counted / sent) if _known(sent) and sent else 1.0
        found |= {"gpu_tokens": source["gpu"], "below_tokens": source["external"], "computed_tokens": source["computed"]}
        found |= {"evidence": f"counters of the {source['role']}"}
    else:
        cached = row["reported_cached_tokens"]
        found |= {"evidence": "cached tokens reported with the answers" if _known(cached) else "none"}
    found |= {"cached_tokens": cached if _known(cached) else None, "allowed_tokens": allowed}
    slack = block * requests
    if arm == "cold":
        verdict, text = _cold(cached, allowed, slack, source, nonce_given)
        if verdict == COLD and share < ALL_SEEN[0]:
            verdict = UNKNOWN if nonce_given else BY_NONCE
            text = f"{text}, by the counters of engines that got {percent(share)} of the prompt tokens; there is no evidence for the rest"
    else:
        tier = _tier(cached, slack, source, from_store)
        found["tier"] = tier
        of = sent * share if share < ALL_SEEN[0] else sent
        if source is not None and _known(sent):
            of = max(of, counted)  # other requests' tokens are on both sides of the share
        verdict, text = _hit(tier, cached, of, source, slack)
        if verdict not in (UNKNOWN, NO_HIT) and _known(allowed) and cached + slack < FULL * allowed * share:
            verdict, text = f"partial {verdict}", f"{text}; an ideal cache would have served {allowed * share:,.0f}"
    found |= {"evidence": found["evidence"] + _canary_says(entry)}
    return found | {"verdict": verdict, "text": text}


def _canary_says(entry: RoundInfo | None) -> str:
    """What a canary that was stored before said when it was asked again after the caches were emptied."""
    canary = entry.canary if entry else {}
    sources = {
        "the GPU cache": canary.get("gpu_tokens"),
        "a tier below": canary.get("external_tokens"),
        "computing": canary.get("computed_tokens"),
    }
    if not any(sources.values()):
        return ""
    return ", a canary answered by " + " and ".join(name for name, tokens in sources.items() if tokens)


def _known(value: Any) -> bool:
    return value is not None and not pd.isna(value)


def _cold(cached: Any, allowed: Any, slack: float, source: Facts | None, nonce_given: bool) -> tuple[str, str]:
    """Cold is proven when no more was cached than the plan's own sharing within the round, within a block per request."""
    if not _known(cached) or not _known(allowed):
        if nonce_given:
            return (
                UNKNOWN,
                "there is no evidence of cached tokens, and the nonce was given: its prompts may have been sent before",
            )
        return BY_NONCE, "there is no evidence of cached tokens; the prompts start with a nonce that is new for this run"
    beyond = cached - allowed
    if beyond <= slack:
        shared = f"; {allowed:,.0f} are shared within the round, as planned" if allowed else ""
        return COLD, f"{cached:,.0f} tokens came from a cache{shared}"
    where = ""
    if source is not None:
        where = f": {source['gpu']:,.0f} from the GPU cache, {source['external']:,.0f} from below"
    return CONTAMINATED, f"{beyond:,.0f} more tokens were cached than the round itself can explain{where}"


def _tier(cached: Any, slack: float, source: Facts | None, from_store: bool) -> str | None:
    """gpu, cpu, disk, store, below (LMCache or a store, not told apart), mixed; None where nothing hit or nothing tells."""
    if source is None or not _known(cached) or cached <= slack:
        return None
    below = "store" if from_store and source["external"] > 0 else "below"
    for name, tier in (("host", "cpu"), ("disk", "disk")):
        if source.get(name, 0.0) >= DOMINANT * max(source["external"], 1.0):
            below = tier
    if source["gpu"] >= DOMINANT * cached:
        return "gpu"
    return below if source["external"] >= DOMINANT * cached else "mixed"


def _hit(tier: str | None, cached: Any, prompt: Any, source: Facts | None, slack: float) -> tuple[str, str]:
    if not _known(cached):
        return UNKNOWN, "nothing tells what was cached"
    share = f"{percent(cached / prompt)} of the prompt tokens came from a cache" if prompt else "no prompt tokens are known"
    little = cached <= slack or bool(prompt and cached < LEAST * prompt)
    if source is None:
        return (NO_HIT if little else "hit, tier unknown"), share
    parts = f"{share}: {source['gpu']:,.0f} from the GPU cache, {source['external']:,.0f} from below, {source['computed']:,.0f} computed"
    if tier is None or little:
        return NO_HIT, parts
    names = {
        "gpu": "GPU hit",
        "cpu": "CPU hit",
        "disk": "disk hit",
        "store": "store hit",
        "below": "hit below the GPU",
        "mixed": "hit from several tiers",
    }
    return names[tier], parts


ANSWERED_BY = ("computed", "gpu", "cpu", "disk", "store", "below", "cache")


def answered_by(records: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Adds each request's round `verdict`, and `answered_by`: computed, or the tier where one tier answered its round, else cache.

    Missing where nothing tells whether this request hit.
    """
    told = {(row["scenario"], row["round"]): row for row in rows_of(verdicts[["scenario", "round", "verdict", "tier"]])}
    names: list[str] = list(dict.fromkeys(row["verdict"] for row in told.values()))
    verdict, answered = (np.full(len(records), -1, dtype=np.int8) for _ in range(2))
    served = records["window"].isin(("hit", "partial"))
    for key, places in group_masks(records, ["scenario", "round"]):
        row = told.get((str(key[0]), int(key[1])), {})
        verdict[places] = names.index(row["verdict"]) if row else -1
        answered[places & served] = ANSWERED_BY.index(row["tier"] if row and row["tier"] in ANSWERED_BY else "cache")
    answered[records["window"].eq("cold")] = ANSWERED_BY.index("computed")
    return records.assign(
        verdict=pd.Categorical.from_codes(verdict, pd.Index(names)),
        answered_by=pd.Categorical.from_codes(answered, pd.Index(ANSWERED_BY)),
    )


def problems_of(
    verdicts: pd.DataFrame, tiers: pd.DataFrame, lost: Mapping[tuple[str, int], NeverStored] | None = None
) -> list[Problem]:
    """What a verdict says against a round: contaminated cold, an arm that another tier answered, a hit round without hits.

    `lost`: by round, what requests that failed in round 1 could not find.
    """
    engines = int(tiers.loc[tiers["role"].ne("decoder"), "engines"].max()) if tiers["role"].ne("decoder").any() else 1
    shared = f"{engines} engines share the requests: one that comes to another engine than its prefix is computed again. " * (
        engines > 1
    )
    found = []
    for row in rows_of(verdicts):
        where = f"Round {row['round']} of {row['scenario']}"
        if row["verdict"] == CONTAMINATED:
            todo = "Was the nonce used before, or does other traffic share these servers? Run again with a fresh nonce."
            found.append(Problem("warning", "contaminated", f"{where} was not cold: {row['text']}.", todo))
        wanted = WANTED_TIER.get(row["arm"] or "")
        if wanted and row["verdict"] == NO_HIT:
            todo = "Is the tier connected, and were its puts done? Try --preflight-only."
            found.append(
                Problem("warning", "arm_not_hit", f"{where} was to be a {row['arm']}, and nothing hit: {row['text']}.", todo)
            )
        if not row["arm"] and row["verdict"] == NO_HIT:
            todo = (
                "Check that prefix caching is on (vLLM: --enable-prefix-caching) and that the cache is larger than the working set. "
                "Try --preflight-only."
            )
            found.append(Problem("warning", "nothing_hit", f"{where} repeats requests, and nothing hit: {row['text']}.", todo))
        if row["verdict"].startswith("partial "):
            where_to_look = "Compare by evidence; see the scenario's part `Cache: what was served, and what was lost`."
            todo = f"{shared}Evicted, put only in part, or not yet put? {where_to_look}"
            if failed := (lost or {}).get((row["scenario"], row["round"])):
                todo = f"{failed}: they never computed what a cache could keep. {todo}"
            severity = "warning" if wanted else "note"
            found.append(Problem(severity, "partial_hit", f"{where} hit less than planned: {row['text']}.", todo))
        if wanted and row["tier"] and row["tier"] != wanted and not (row["tier"] == "below" and wanted != "gpu"):
            todo = (
                "Another tier answered, so its figures are not those of the named tier. Check cache_actions in run.json for a "
                "refused reset."
            )
            found.append(
                Problem(
                    "warning", "wrong_tier", f"{where} was to be a {row['arm']}, but is a {row['verdict']}: {row['text']}.", todo
                )
            )
    return found
