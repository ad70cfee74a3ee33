"""Labels each record with its window by two independent rules: the round, and the evidence.

Rule "round": a round is what it was played for, `cold`, `control` or `hit`, whatever the cache did. Rule "evidence": what the server says
it took from its cache, against what the plan says could have been there; docs/metrics.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.mapped import release
from locust_kvcache.analysis.basics.narrow import chosen, group_masks
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
               "reported_cached_tokens"]  # fmt: skip
LIE = "cached_tokens_lie"  # code of the problem
LYING_SHARE = 0.8  # of requests that nothing can have been cached for


def label_windows(records: pd.DataFrame, block_size_tokens: int | None) -> pd.DataFrame:
    """Adds `round_window` and `window`; no row is ever dropped. In order of precedence: failed; racing; then by cached tokens."""
    block = block_size_tokens or BLOCK_SIZE_TOKENS
    label, failed = by_cached_tokens(records, block), ~records["ok"]
    label = label.mask(is_racing(records, label), "racing").mask(failed, "failed")
    return records.assign(window=label, round_window=kinds_of(records).mask(failed, "failed"))


def kinds_of(records: pd.DataFrame) -> pd.Series:
    """cold, control or hit of each record's round; records that do not say it are of the first round, which is cold, or repeat it.
    As a category that may become `failed`."""
    names = (*KINDS, "failed")
    codes = np.where(records["round"].gt(1), names.index(HIT), names.index(COLD)).astype(np.int8)
    if "round_kind" in records:
        told = pd.Categorical(records["round_kind"], categories=KINDS).codes
        codes = np.where(told >= 0, told, codes)
    return _labels(codes, names, records.index)


def _labels(codes: NDArray[np.int8], names: tuple[str, ...], index: pd.Index) -> pd.Series:
    """A byte per record in place of a text."""
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names)), index=index, copy=False)


def by_cached_tokens(records: pd.DataFrame, block: int) -> pd.Series:
    """cold: less than one block reported (a chat template's few tokens may be cached). hit: all that the plan allows, less at most
    one block, and at least half of the prompt; where the plan allows nothing or is unknown, all of the prompt but its last block.
    partial: between the two.
    """
    reported, planned = records["reported_cached_tokens"], records["planned_cached_tokens"]
    whole_prompt = (records["prompt_tokens"] - 1) // block * block
    allowed = planned.where(planned >= block, whole_prompt)
    label = np.full(len(records), EVIDENCE.index("partial"), dtype=np.int8)
    enough = ~reported.lt(LEAST_SHARE * records["prompt_tokens"] - block)
    label[reported.ge(allowed - block) & allowed.notna() & enough] = EVIDENCE.index("hit")
    label[reported.lt(block)] = EVIDENCE.index("cold")
    label[reported.isna()] = EVIDENCE.index("unknown")
    release()
    return _labels(label, EVIDENCE, records.index)


def is_racing(records: pd.DataFrame, label: pd.Series) -> pd.Series:
    """Whether another request was still computing this one's prefix: it started earlier and had no first token when this one started.

    The other shares the prefix directly, and it did compute: cold or partial by evidence, or, without evidence, in round 1. Which of
    them comes first is taken from the clock, not from the plan: users overtake each other. Workers' wall clocks are compared here;
    they order requests, they don't measure.
    """
    computed = label.isin(["cold", "partial"]) | (label.eq("unknown") & records["round"].eq(1))
    found = np.zeros(len(records), dtype=bool)
    for _, places in group_masks(records, ["scenario", "round"]):
        group = chosen(records, places, ["started_at_s", "ttft_ms", "shares_prefix_with", "request_index"])
        first_token_at_s = group["started_at_s"] + group["ttft_ms"] / 1000
        table = pd.DataFrame({"started_at_s": group["started_at_s"], "prefix": siblings(group),
                              "busy_until_s": first_token_at_s.where(computed[places]).fillna(-1.0)})  # fmt: skip
        table = table.sort_values("started_at_s", kind="stable")
        busy_before_s = table.groupby("prefix")["busy_until_s"].cummax().groupby(table["prefix"]).shift(fill_value=-1.0)
        found[places] = (busy_before_s > table["started_at_s"]).reindex(group.index)
    return pd.Series(found, index=records.index)


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
    problems = _unreported(chosen(records, records["ok"], ["reported_cached_tokens", "usage_rejected"]))
    ok = chosen(records, records["ok"] & records["round"].eq(1), EVIDENCE_OF)
    place = ok.groupby([ok["scenario"], ok["round"], siblings(ok)], observed=True)["started_at_s"].rank(method="first")
    first = ok["planned_cached_tokens"].eq(0) & ~place.gt(1)  # the plan's first, and first in time
    fresh = ok[first & ok["reported_cached_tokens"].notna()]
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
            Problem("warning", LIE, text, way_out),
        ]
    warm = int(fresh["reported_cached_tokens"].ge(block).sum())
    if warm:
        text = f"{warm} of {len(fresh)} requests with a never-seen prefix were served from a cache: round 1 is not wholly cold."
        problems.append(Problem("warning", "not_cold", text, "Use a fresh nonce (the default), and compare by evidence."))
    return records, problems


def are_rejected(problems: Iterable[Problem]) -> bool:
    """Whether `check_evidence` removed the reported cached tokens of this run."""
    return any(problem.code == LIE for problem in problems)


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
        LIE,
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
