"""Labelled records come in, a table of where the tokens that could have been cached went comes out: served, or lost to a named cause.

Each request's loss is planned - reported. The causes, the first that applies: racing, granularity, evicted, not stored, other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from locust_kvcache.analysis.cache.prefixes import roots

CAUSES = ("racing", "granularity", "evicted", "not_stored", "other")
MEANING = {
    "racing": "the prefix was still being computed by another request",
    "granularity": "the cache keeps larger blocks than the plan counts with (the largest common divisor of what was reported)",
    "evicted": "an earlier request with this prefix was served so many more tokens from the cache",
    "not_stored": "computed before, but nothing of it has come from the cache yet (or it was evicted before its first reuse)",
    "other": "none of these: mostly a part of the prompt that no request was ever served",
}


def granularity(reported: pd.Series, block: int) -> int:
    """The cache's own block: the largest common divisor of all reported amounts, if there are enough of them to tell (8 values,
    3 different ones), else the server's block size."""
    amounts = reported[reported >= block].astype("int64").unique()
    if (reported >= block).sum() < 8 or len(amounts) < 3:
        return block
    return max(block, int(np.gcd.reduce(amounts)))


def account(records: pd.DataFrame, block: int) -> pd.DataFrame:
    """One row per scenario and round: planned, reported and lost tokens by cause, over successful requests that have both figures."""
    both = records[records["ok"] & records["reported_cached_tokens"].notna() & records["planned_cached_tokens"].notna()]
    columns = ["scenario", "round", "requests", "prompt_tokens", "planned", "reported", "beyond_plan", "granularity_tokens",
               *(f"lost_{cause}" for cause in CAUSES)]  # fmt: skip
    if both.empty:
        return pd.DataFrame(columns=columns)
    tables = []
    for scenario, group in both.groupby("scenario", observed=True, sort=False):
        size = granularity(group["reported_cached_tokens"], block)
        lost = _losses(group.assign(prefix=roots(group)), block, size)
        tables.append(_by_round(lost).assign(scenario=str(scenario), granularity_tokens=size))
    return pd.concat(tables, ignore_index=True)[columns]


def _losses(records: pd.DataFrame, block: int, size: int) -> pd.DataFrame:
    """Adds one column per cause. What an earlier request of the same prefix saw decides between evicted and not stored."""
    ordered = records.sort_values("started_at_s", kind="stable")
    planned, reported = ordered["planned_cached_tokens"], ordered["reported_cached_tokens"]
    loss = (planned - reported).clip(lower=0)
    racing = ordered["window"].eq("racing")
    rounding = (planned - planned // size * size).clip(upper=loss).where(~racing, 0.0)
    served_most = reported.groupby(ordered["prefix"]).cummax().groupby(ordered["prefix"]).shift(fill_value=0)
    rest = (loss - rounding).where(~racing, 0.0)
    evicted = rest.clip(upper=(served_most - reported).clip(lower=0)).where(served_most >= block, 0.0)
    never_served = reported.lt(block) & (ordered.groupby("prefix").cumcount() > 0)
    not_stored = (rest - evicted).where(never_served, 0.0)
    lost = {"racing": loss.where(racing, 0.0), "granularity": rounding, "evicted": evicted, "not_stored": not_stored}
    columns = {f"lost_{cause}": tokens for cause, tokens in lost.items()} | {"lost_other": rest - evicted - not_stored}
    return ordered.assign(planned=planned, reported=reported, beyond_plan=(reported - planned).clip(lower=0), **columns)


def _by_round(lost: pd.DataFrame) -> pd.DataFrame:
    names = ["prompt_tokens", "planned", "reported", "beyond_plan", *(f"lost_{cause}" for cause in CAUSES)]
    table = lost.groupby("round")[names].sum()
    return table.assign(requests=lost.groupby("round").size()).reset_index()
