"""Finds which requests share a prefix; windows and cache accounting both need it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.contract.round_kinds import sends_new_prompts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def siblings(records: pd.DataFrame) -> pd.Series:
    """A number per request, the same for all that share one prefix directly: the first of them by plan, and those that name it."""
    return records["shares_prefix_with"].fillna(records["request_index"]).astype("int64")


def roots(records: pd.DataFrame) -> pd.Series:
    """The request at the root of each request's chain of shared prefixes (turns of a conversation chain up); its own where nothing
    is shared."""
    found = np.empty(len(records), dtype=np.int64)
    for rows in records.groupby("scenario", observed=True).indices.values():
        index = records["request_index"].to_numpy()[rows]
        found[rows] = _roots_of(index, records["shares_prefix_with"].to_numpy(dtype="float64")[rows])
    return pd.Series(found, index=records.index)


def _roots_of(index: Ints, shares: Floats) -> Ints:
    """Of the requests of one scenario; each request's first record says whose prefix it shares. One without a record has no parent."""
    own, first, place = np.unique(index, return_index=True, return_inverse=True)
    named = np.where(np.isnan(shares[first]), own, shares[first]).astype(np.int64)
    numbers = np.union1d(own, named)
    parent = np.arange(len(numbers))
    parent[np.searchsorted(numbers, own)] = np.searchsorted(numbers, named)
    for _ in range(len(numbers).bit_length() + 1):  # each turn doubles how far up is looked
        above = parent[parent]
        if np.array_equal(above, parent):
            break
        parent = above
    root: Ints = numbers[parent[np.searchsorted(numbers, own)]][place]
    return root


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
