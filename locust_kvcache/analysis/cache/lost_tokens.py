"""Accounts for each token that could have been cached: served, or lost to a named cause.

Each request's loss is planned - reported. The causes, the first that applies: racing, overtaken, granularity, other engine, evicted,
not stored, other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.cache.cache_step import observed_step, whole_steps
from locust_kvcache.analysis.cache.prefixes import roots, was_overtaken

CAUSES = ("racing", "overtaken", "granularity", "other_engine", "evicted", "not_stored", "other")
MEANING = {
    "racing": "the prefix was still being computed by another request",
    "overtaken": "the request that should have sent the prefix first was sent later, because users overtook each other",
    "granularity": "the cache keeps larger blocks than the plan counts with (the step of what was reported)",
    "other_engine": "the prefix lay on other engines only: the router sent the request to one that had not met it",
    "evicted": "an earlier request with this prefix was served so many more tokens from the cache",
    "not_stored": "computed before, but never served from the cache (not stored, or evicted before its first reuse)",
    "other": "other: mostly a part of the prompt that was never served to any request",
}


AMOUNTS = ["planned_cached_tokens", "reported_cached_tokens"]


def account(records: pd.DataFrame, block: int) -> pd.DataFrame:
    """One row per scenario and round: planned, reported and lost tokens by cause, over successful requests that have both figures."""
    known = records["ok"] & records["reported_cached_tokens"].notna() & records["planned_cached_tokens"].notna()
    columns = ["scenario", "round", "requests", "prompt_tokens", "planned", "reported", "beyond_plan", "granularity_tokens",
               *(f"lost_{cause}" for cause in CAUSES)]  # fmt: skip
    if not known.any():
        return pd.DataFrame(columns=columns)
    overtaken, tables = was_overtaken(records), list[pd.DataFrame]()
    for key, places in group_masks(records, ["scenario"]):
        mine = known & places
        if mine.any():
            amounts = chosen(records, mine & ~records["window"].eq("racing"), AMOUNTS)
            size = observed_step(amounts["reported_cached_tokens"], block, amounts["planned_cached_tokens"])
            del amounts
            of_round = chosen(records, mine, ["round", "prompt_tokens"])
            summed = _by_round(of_round, _losses(_in_order(records, mine, overtaken), block, size))
            tables.append(summed.assign(scenario=str(key[0]), granularity_tokens=size))
    return pd.concat(tables, ignore_index=True)[columns]


def _in_order(records: pd.DataFrame, mine: pd.Series, overtaken: pd.Series) -> pd.DataFrame:
    """The cached tokens of one scenario's requests in the order of sending, who shares a prefix, and who came too early for it."""
    links = chosen(records, mine, ["scenario", "request_index", "shares_prefix_with"])
    engine = records.loc[mine, "engine"] if "engine" in records else pd.Series(index=links.index, dtype=object)
    named = bool((engine.notna() & engine.ne("")).all())
    prefix = roots(links).to_numpy()
    del links
    racing = records["window"].eq("racing")[mine]
    table = chosen(records, mine, ["started_at_s", *AMOUNTS]).assign(
        prefix=prefix, racing=racing, overtaken=overtaken[mine] & ~racing
    )
    ordered = table.assign(engine=engine if named else "").sort_values("started_at_s", kind="stable").drop(columns="started_at_s")
    return ordered.assign(elsewhere=ordered["prefix"].duplicated() & ~ordered[["prefix", "engine"]].duplicated())


def _losses(ordered: pd.DataFrame, block: int, size: int) -> Iterator[tuple[str, pd.Series]]:
    """Name by name, what is summed up by round. What an earlier request of the same prefix saw decides between evicted and not stored."""
    planned, reported = ordered["planned_cached_tokens"], ordered["reported_cached_tokens"]
    prefix = ordered.groupby(["prefix", "engine"], sort=False, observed=True).ngroup()  # each engine has a cache of its own
    yield "planned", planned
    yield "reported", reported
    yield "beyond_plan", (reported - planned).clip(lower=0)
    loss, early = (planned - reported).clip(lower=0), ordered["racing"] | ordered["overtaken"]
    yield "lost_racing", loss.where(ordered["racing"], 0.0)
    yield "lost_overtaken", loss.where(ordered["overtaken"], 0.0)
    rounding = (planned - whole_steps(planned, size)).clip(upper=loss).where(~early, 0.0)
    yield "lost_granularity", rounding
    rest = (loss - rounding).where(~early, 0.0)
    del loss, rounding
    other_engine = rest.where(ordered["elsewhere"], 0.0)
    yield "lost_other_engine", other_engine
    rest = rest - other_engine
    served_most = reported.groupby(prefix).cummax().groupby(prefix).shift(fill_value=0)
    evicted = rest.clip(upper=(served_most - reported).clip(lower=0)).where(served_most >= block, 0.0)
    yield "lost_evicted", evicted
    never_served = reported.lt(block) & prefix.duplicated()
    not_stored = (rest - evicted).where(never_served, 0.0)
    yield "lost_not_stored", not_stored
    yield "lost_other", rest - evicted - not_stored


def _by_round(of: pd.DataFrame, losses: Iterable[tuple[str, pd.Series]]) -> pd.DataFrame:
    """Sums of the prompt tokens and of each loss; `of` has the rounds, which a loss finds by its index."""
    table = of.groupby("round")[["prompt_tokens"]].sum().assign(requests=of.groupby("round").size())
    for name, tokens in losses:
        table[name] = tokens.groupby(of["round"].reindex(tokens.index)).sum()
    return table.reset_index()
