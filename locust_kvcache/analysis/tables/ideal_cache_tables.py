"""Makes the tables of what caches of given sizes could have served."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.number_text import percent, whole
from locust_kvcache.analysis.cache.ideal_caches import ENDLESS
from locust_kvcache.analysis.tables.claim_words import arm_words
from locust_kvcache.analysis.tables.table import Stats, Table, find

RULE = "by round; tokens of successful requests whose cached tokens were reported and believed"
NOTE = (
    "LRU: least recently used blocks dropped first, in the order in which the requests were sent; each tier as if it were alone."
)


def cache_name(cache: str, capacity_tokens: float | None) -> str:
    return (
        "a cache without limit" if cache == ENDLESS else f"LRU of the {arm_words(cache)} tier's {whole(capacity_tokens)} tokens"
    )


def ideal_table(stats: Stats, scenario: str) -> Table | None:
    """Hit rates of ideal caches beside the achieved one, and achieved / ideal. None where no tier's size is known."""
    frame = pd.DataFrame(find(stats.get("cache_over_time", []), scenario=scenario))
    if frame.empty or set(frame["cache"]) == {ENDLESS}:
        return None
    names = dict(zip(frame["cache"], frame["capacity_tokens"], strict=True))
    sums = frame.groupby(["cache", "round"])[["prompt_tokens", "ideal_tokens", "evicted_tokens", "served_tokens"]].sum()
    numbers = sorted(frame["round"].unique())
    rows = [("hit rate achieved", *(_ratio(sums.loc[(ENDLESS, n)], "served_tokens", "prompt_tokens") for n in numbers))]
    for cache, tokens in names.items():
        name = cache_name(cache, tokens)
        rows.append((f"hit rate of {name}", *(_ratio(sums.loc[(cache, n)], "ideal_tokens", "prompt_tokens") for n in numbers)))
        rows.append((f"achieved / {name}", *(_ratio(sums.loc[(cache, n)], "served_tokens", "ideal_tokens") for n in numbers)))
        if cache != ENDLESS:
            rows.append((f"tokens dropped by {name}", *(whole(sums.loc[(cache, n), "evicted_tokens"]) for n in numbers)))
    header = ("", *(f"round {number}" for number in numbers))
    return Table(f"{scenario}: what a cache of this size could have served", header, tuple(rows), RULE, (NOTE,))


def why_no_tiers(stats: Stats) -> str | None:
    """A sentence in the table's place."""
    why = stats.get("cache_over_time_note")
    return f"What a cache of each tier's size could have served is not shown: {why}." if why else None


def _ratio(row: pd.Series, over: str, under: str) -> str:
    return percent(row[over] / row[under] if row[under] else None)


def rate_points(stats: Stats, scenario: str) -> pd.DataFrame:
    """Columns label, x (s), y (hit rate, %): the achieved rate and that of each ideal cache, per time bin; empty without a second bin."""
    frame = pd.DataFrame(find(stats.get("cache_over_time", []), scenario=scenario))
    if frame.empty or frame["at_s"].nunique() < 2:
        return pd.DataFrame(columns=["label", "x", "y"])
    achieved = frame[frame["cache"].eq(ENDLESS)].assign(label="achieved", tokens=lambda rows: rows["served_tokens"])
    named = [cache_name(cache, tokens) for cache, tokens in zip(frame["cache"], frame["capacity_tokens"], strict=True)]
    both = pd.concat([frame.assign(label=named, tokens=frame["ideal_tokens"]), achieved])
    sums = both.groupby(["label", "at_s"], sort=False)[["tokens", "prompt_tokens"]].sum().reset_index()
    return pd.DataFrame({"label": sums["label"], "x": sums["at_s"], "y": 100 * sums["tokens"] / sums["prompt_tokens"]})
