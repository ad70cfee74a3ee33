"""Finds which requests share a prefix; windows and cache accounting both need it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.contract.round_kinds import sends_new_prompts


def siblings(records: pd.DataFrame) -> pd.Series:
    """A number per request, the same for all that share one prefix directly: the first of them by plan, and those that name it."""
    return records["shares_prefix_with"].fillna(records["request_index"]).astype("int64")


def roots(records: pd.DataFrame) -> pd.Series:
    """The request at the root of each request's chain of shared prefixes (turns of a conversation chain up); its own where nothing
    is shared."""
    links = records.drop_duplicates(["scenario", "request_index"]).set_index(["scenario", "request_index"])["shares_prefix_with"]
    parent = {key: value for key, value in links.items() if value == value}
    found: dict[tuple[Any, ...], int] = {}
    for key in links.index:
        path = [key]
        while path[-1] in parent and path[-1] not in found and len(path) <= len(links):
            path.append((path[-1][0], int(parent[path[-1]])))
        root = found.get(path[-1], path[-1][1])
        found.update(dict.fromkeys(path, root))
    keys = zip(records["scenario"], records["request_index"], strict=True)
    return pd.Series([found[key] for key in keys], index=records.index)


def was_overtaken(records: pd.DataFrame) -> pd.Series:
    """Whether, in a round that sends its prefixes for the first time, a request that shares one was the first on it by the clock.

    The plan lets another request bring that prefix; this one overtook it, so nothing was there yet. The request that the plan names and
    all others that name it count, whether they succeeded or not.
    """
    new = records["round"].eq(1)
    if "round_kind" in records:
        kind = records["round_kind"].astype(object)
        new = new.where(kind.isna(), kind.map(sends_new_prompts, na_action="ignore").eq(True))
    shares = records["shares_prefix_with"].notna() & new & records["started_at_s"].notna()
    by_request = [records["scenario"].astype(str), records["round"], records["request_index"]]
    named = pd.MultiIndex.from_arrays([by_request[0], by_request[1], records["shares_prefix_with"].fillna(-1).astype("int64")])
    brought_at_s = pd.Series(records["started_at_s"].to_numpy(), index=pd.MultiIndex.from_arrays(by_request))
    brought_at_s = brought_at_s[~brought_at_s.index.duplicated()].reindex(named).set_axis(records.index)
    place = records["started_at_s"].where(shares).groupby([*by_request[:2], siblings(records)]).rank(method="first")
    first_by_clock = place.eq(1)
    return shares & first_by_clock & ~brought_at_s.le(records["started_at_s"])
