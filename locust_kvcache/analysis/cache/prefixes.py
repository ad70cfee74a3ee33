"""Records come in, who shares a prefix with whom goes out: what the windows and the cache accounting both need."""

from __future__ import annotations

from typing import Any

import pandas as pd


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
