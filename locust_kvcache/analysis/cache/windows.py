"""Labels each record with its window by two independent rules: the round, and the evidence.

Rule "round": a round is what it was played for, `cold`, `control` or `hit`, whatever the cache did. Rule "evidence": what the server says
it took from its cache, against what the plan says could have been there; docs/metrics.md has the table.
"""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.plain_values import with_scenario_text
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache.cache_step import all_but_a_step
from locust_kvcache.analysis.cache.prefixes import siblings
from locust_kvcache.contract.round_kinds import COLD, HIT, KINDS

EVIDENCE = ("cold", "partial", "hit", "racing", "unknown", "failed")
BLOCK_SIZE_TOKENS = 16  # vLLM's default, where the server says nothing
RULES = {
    "round": "by round: round 1 is cold, later rounds repeat it, whatever the cache did",
    "evidence": "by evidence: the cached tokens that the server reported, against what the plan says could have been cached",
}
LEAST_SHARE = 0.5  # of the prompt: a request that took less from the cache is partial, however little the plan allowed
EVIDENCE_OF = ["scenario", "round", "request_index", "shares_prefix_with", "started_at_s", "prompt_tokens", "planned_cached_tokens",
               "reported_cached_tokens", "usage_rejected"]  # fmt: skip
LYING_SHARE = 0.8  # of requests that nothing can have been cached for


def label_windows(records: pd.DataFrame, block_size_tokens: int | None) -> pd.DataFrame:
    """Adds `round_window` and `window`; no row is ever dropped. In order of precedence: failed; racing; then by cached tokens."""
    block = block_size_tokens or BLOCK_SIZE_TOKENS
    label = by_cached_tokens(records, block)
    label = label.mask(is_racing(records, label), "racing")
    label = label.mask(~records["ok"], "failed")
    round_window = kinds_of(records).mask(~records["ok"], "failed")
    return records.assign(
        window=pd.Categorical(label, categories=EVIDENCE),
        round_window=pd.Categorical(round_window, categories=(*KINDS, "failed")),
    )


def kinds_of(records: pd.DataFrame) -> pd.Series:
    """cold, control or hit of each record's round; records that do not say it are of the first round, which is cold, or repeat it."""
    by_number = pd.Series(COLD, index=records.index, dtype=object).mask(records["round"].gt(1), HIT)
    if "round_kind" not in records:
        return by_number
    told = records["round_kind"].astype(object)
    return told.where(told.isin(KINDS), by_number)


def by_cached_tokens(records: pd.DataFrame, block: int) -> pd.Series:
    """cold: less than one block reported (a chat template's few tokens may be cached). hit: all that the plan allows, less at most
    one block, and at least half of the prompt; where the plan allows nothing or is unknown, all of the prompt but its last block.
    partial: between the two.
    """
    reported, planned = records["reported_cached_tokens"], records["planned_cached_tokens"]
    whole_prompt = (records["prompt_tokens"] - 1) // block * block
    allowed = planned.where(planned >= block, whole_prompt)
    label = pd.Series("partial", index=records.index, dtype=object)
    enough = ~reported.lt(LEAST_SHARE * records["prompt_tokens"] - block)
    label = label.mask(reported.ge(allowed - block) & allowed.notna() & enough, "hit")
    label = label.mask(reported.lt(block), "cold")
    return label.mask(reported.isna(), "unknown")


def is_racing(records: pd.DataFrame, label: pd.Series) -> pd.Series:
    """Whether another request was still computing this one's prefix: it started earlier and had no first token when this one started.

    The other shares the prefix directly, and it did compute: cold or partial by evidence, or, without evidence, in round 1. Which of
    them comes first is taken from the clock, not from the plan: users overtake each other. Workers' wall clocks are compared here;
    they order requests, they don't measure.
    """
    computed = label.isin(["cold", "partial"]) | (label.eq("unknown") & records["round"].eq(1))
    first_token_at_s = records["started_at_s"] + records["ttft_ms"] / 1000
    table = records[["scenario", "round", "started_at_s"]].assign(
        prefix=siblings(records), busy_until_s=first_token_at_s.where(computed).fillna(-1.0)
    )
    table = table.sort_values("started_at_s", kind="stable")
    by_prefix = table.groupby(["scenario", "round", "prefix"], observed=True)["busy_until_s"]
    busy_before_s = (
        by_prefix.cummax().groupby([table["scenario"], table["round"], table["prefix"]], observed=True).shift(fill_value=-1.0)
    )
    return (busy_before_s > table["started_at_s"]).reindex(records.index)


def check_evidence(
    records: pd.DataFrame, block_size_tokens: int | None, prefiller: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, list[Problem]]:
    """The records, with `reported_cached_tokens` removed where it cannot be true, and what is wrong with the evidence.

    Requests of round 1 that the plan shares with nobody start with this run's nonce: nothing of them can be cached. A server that
    reports (nearly) all of such a prompt as cached counts loaded KV as cached, as vLLM's decoders do under PD (issues 43370, 47136),
    or the same nonce was sent before. `prefiller` (columns scenario, round, cached_tokens) holds the prefiller's own count where there
    is one: a decoder that loaded only a part of a prompt lies by that part, and only the counters show it.
    """
    block = block_size_tokens or BLOCK_SIZE_TOKENS
    if (lie := _beyond_the_prefiller(records, block, prefiller)) is not None:
        return records.assign(reported_cached_tokens=float("nan")), [lie]
    ok = chosen(records, records["ok"], EVIDENCE_OF)
    place = ok.groupby([ok["scenario"], ok["round"], siblings(ok)], observed=True)["started_at_s"].rank(method="first")
    first = ok["round"].eq(1) & ok["planned_cached_tokens"].eq(0) & ~place.gt(1)  # the plan's first, and first in time
    fresh = ok[first & ok["reported_cached_tokens"].notna()]
    problems = _unreported(ok)
    if fresh.empty:
        return records, problems
    near_all = fresh["reported_cached_tokens"] >= fresh["prompt_tokens"] - 1 - 2 * block
    near_all |= all_but_a_step(fresh["reported_cached_tokens"], fresh["prompt_tokens"], block, LYING_SHARE)
    impossible = near_all & fresh["reported_cached_tokens"].ge(block)
    if impossible.mean() >= LYING_SHARE:
        text = (
            f"{int(impossible.sum())} of {len(fresh)} requests with a never-seen prefix were reported as almost wholly cached. The "
            "reported cached tokens are rejected, so single requests have no label (cold or hit)."
        )
        way_out = (
            "Under PD read the prefiller's counters (`metrics` in the deployment file); or was the run's --nonce sent before?"
        )
        return records.assign(reported_cached_tokens=float("nan")), [
            *problems,
            Problem("warning", "cached_tokens_lie", text, way_out),
        ]
    warm = int(fresh["reported_cached_tokens"].ge(block).sum())
    if warm:
        text = f"{warm} of {len(fresh)} requests with a never-seen prefix were served from a cache: round 1 is not wholly cold."
        problems.append(Problem("warning", "not_cold", text, "Use a fresh nonce (the default), and compare by evidence."))
    return records, problems


def _beyond_the_prefiller(records: pd.DataFrame, block: int, prefiller: pd.DataFrame | None) -> Problem | None:
    """In the cold round, where both are known: more reported as cached than the prefiller found, by over a block per request."""
    if prefiller is None or prefiller.empty:
        return None
    ok = chosen(records, records["ok"] & records["round"].eq(1), ["scenario", "round", "reported_cached_tokens"])
    if ok.empty:
        return None
    told = with_scenario_text(ok).groupby(["scenario", "round"])["reported_cached_tokens"].agg(["sum", "count"]).reset_index()
    both = told.merge(prefiller, on=["scenario", "round"])
    beyond = both[both["sum"] > both["cached_tokens"] + block * both["count"]]
    if beyond.empty:
        return None
    row = beyond.iloc[0]
    text = (
        f"In round 1 of {row['scenario']} the responses reported {row['sum']:,.0f} cached tokens, but the prefiller found "
        f"{row['cached_tokens']:,.0f}: the decoder counts transferred KV as cached. The reported cached tokens are rejected, "
        "so single requests have no label (cold or hit)."
    )
    return Problem(
        "warning",
        "cached_tokens_lie",
        text,
        "Hit rates here are the prefiller's, by its counters: see the table of which cache answered each round.",
    )


def _unreported(ok: pd.DataFrame) -> list[Problem]:
    unknown = ok[ok["reported_cached_tokens"].isna()]
    rejected = unknown["usage_rejected"].dropna().astype(str) if "usage_rejected" in unknown else pd.Series(dtype=str)
    missing = len(unknown) - int(rejected.str.contains("cached_tokens is", regex=False).sum())
    if ok.empty or not missing:
        return []
    text = f"{missing} of {len(ok)} successful requests have no reported cached tokens: what they took from the cache is unknown."
    way_out = "vLLM: --enable-prompt-tokens-details; SGLang: --enable-cache-report."
    return [Problem("warning", "no_cached_tokens", text, way_out)]
