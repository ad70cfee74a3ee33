"""Finds which requests share a prefix; windows and cache accounting both need it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
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
        kind = pd.Categorical(records["round_kind"])
        fresh = [code for code, name in enumerate(kind.categories) if sends_new_prompts(name)]
        new = (new & (kind.codes < 0)) | np.isin(kind.codes, fresh)
    shares = records["shares_prefix_with"].notna() & new & records["started_at_s"].notna()
    found = np.zeros(len(records), dtype=bool)
    for _, places in group_masks(records, ["scenario", "round"]):
        if (shares & places).any():
            group = chosen(records, places, ["request_index", "shares_prefix_with", "started_at_s"])
            found[places] = _overtook(group, shares[places])
    return pd.Series(found, index=records.index)


def _overtook(group: pd.DataFrame, shares: pd.Series) -> pd.Series:
    """Of one round: the first by the clock on its prefix, and the request that was to bring it was not sent before."""
    sent = group[shares].sort_values("started_at_s", kind="stable")
    first = sent[~siblings(sent).duplicated()]
    brought = group.drop_duplicates("request_index").set_index("request_index")["started_at_s"]
    brought_at_s = brought.reindex(first["shares_prefix_with"].astype("int64")).to_numpy()
    overtook = first.index[~(brought_at_s <= first["started_at_s"].to_numpy())]
    return pd.Series(group.index.isin(overtook), index=group.index)
