"""Accounts for each token that could have been cached: served, or lost to a named cause.

Each request's loss is planned - reported. The causes, the first that applies: racing, overtaken, granularity, evicted, not stored, other.
"""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.cache.cache_step import observed_step, whole_steps
from locust_kvcache.analysis.cache.prefixes import roots, was_overtaken

CAUSES = ("racing", "overtaken", "granularity", "evicted", "not_stored", "other")
MEANING = {
    "racing": "the prefix was still being computed by another request",
    "overtaken": "the request that was to bring the prefix was sent later: users overtook each other, and nothing was there yet",
    "granularity": "the cache keeps larger blocks than the plan counts with (the step of what was reported)",
    "evicted": "an earlier request with this prefix was served so many more tokens from the cache",
    "not_stored": "computed before, but nothing of it has come from the cache yet (or it was evicted before its first reuse)",
    "other": "none of these: mostly a part of the prompt that no request was ever served",
}


LOOKED_AT = ["scenario", "round", "request_index", "shares_prefix_with", "started_at_s", "window", "prompt_tokens",
             "planned_cached_tokens", "reported_cached_tokens", "overtaken"]  # fmt: skip


def account(records: pd.DataFrame, block: int) -> pd.DataFrame:
    """One row per scenario and round: planned, reported and lost tokens by cause, over successful requests that have both figures."""
    known = records["ok"] & records["reported_cached_tokens"].notna() & records["planned_cached_tokens"].notna()
    both = chosen(records.assign(overtaken=was_overtaken(records)), known, LOOKED_AT)
    columns = ["scenario", "round", "requests", "prompt_tokens", "planned", "reported", "beyond_plan", "granularity_tokens",
               *(f"lost_{cause}" for cause in CAUSES)]  # fmt: skip
    if both.empty:
        return pd.DataFrame(columns=columns)
    tables = []
    for scenario, group in both.groupby("scenario", observed=True, sort=False):
        steady = group[~group["window"].eq("racing")]
        size = observed_step(steady["reported_cached_tokens"], block, steady["planned_cached_tokens"])
        lost = _losses(group.assign(prefix=roots(group)), block, size)
        tables.append(_by_round(lost).assign(scenario=str(scenario), granularity_tokens=size))
    return pd.concat(tables, ignore_index=True)[columns]


def _losses(records: pd.DataFrame, block: int, size: int) -> pd.DataFrame:
    """Adds one column per cause. What an earlier request of the same prefix saw decides between evicted and not stored."""
    ordered = records.sort_values("started_at_s", kind="stable")
    planned, reported = ordered["planned_cached_tokens"], ordered["reported_cached_tokens"]
    loss = (planned - reported).clip(lower=0)
    racing = ordered["window"].eq("racing")
    overtaken = ordered["overtaken"] & ~racing
    early = racing | overtaken
    rounding = (planned - whole_steps(planned, size)).clip(upper=loss).where(~early, 0.0)
    served_most = reported.groupby(ordered["prefix"]).cummax().groupby(ordered["prefix"]).shift(fill_value=0)
    rest = (loss - rounding).where(~early, 0.0)
    evicted = rest.clip(upper=(served_most - reported).clip(lower=0)).where(served_most >= block, 0.0)
    never_served = reported.lt(block) & (ordered.groupby("prefix").cumcount() > 0)
    not_stored = (rest - evicted).where(never_served, 0.0)
    lost = {"racing": loss.where(racing, 0.0), "overtaken": loss.where(overtaken, 0.0), "granularity": rounding, "evicted": evicted,
            "not_stored": not_stored}  # fmt: skip
    columns = {f"lost_{cause}": tokens for cause, tokens in lost.items()} | {"lost_other": rest - evicted - not_stored}
    return ordered.assign(planned=planned, reported=reported, beyond_plan=(reported - planned).clip(lower=0), **columns)


def _by_round(lost: pd.DataFrame) -> pd.DataFrame:
    names = ["prompt_tokens", "planned", "reported", "beyond_plan", *(f"lost_{cause}" for cause in CAUSES)]
    table = lost.groupby("round")[names].sum()
    return table.assign(requests=lost.groupby("round").size()).reset_index()
