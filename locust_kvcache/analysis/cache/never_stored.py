"""Finds prompts that could not be cached in later rounds because their request failed in the first round."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.basics.plain_values import with_scenario_text


@dataclass(frozen=True)
class NeverStored:
    """Of one later round: requests whose first try failed, and the planned cached tokens that were not served to them."""

    requests: int
    tokens: float

    def __str__(self) -> str:
        return f"{self.tokens:,.0f} of the missing tokens are those of {plural(self.requests, 'request')} that failed in round 1"


def never_stored(records: pd.DataFrame) -> dict[tuple[str, int], NeverStored]:
    """By scenario and later round, over its successful requests; only rounds that have some.

    Planned less reported, or all that was planned where nothing was reported: how much of it another request had stored is not known then.
    """
    first = chosen(records, records["round"].eq(1) & ~records["ok"], ["scenario", "request_index"])
    later, again = records["ok"] & records["round"].gt(1), pd.Series(False, index=records.index)
    for scenario in first["scenario"].unique():
        failed = first.loc[first["scenario"].eq(scenario), "request_index"]
        again |= later & records["scenario"].eq(scenario) & records["request_index"].isin(failed)
    columns = ["scenario", "round", "planned_cached_tokens", "reported_cached_tokens"]
    mine = with_scenario_text(chosen(records, again, columns))
    missing = (mine["planned_cached_tokens"] - mine["reported_cached_tokens"].fillna(0.0)).clip(lower=0)
    rows = mine.assign(missing=missing)[missing.gt(0)].groupby(["scenario", "round"])["missing"].agg(["size", "sum"])
    return {(str(key[0]), int(key[1])): NeverStored(int(row["size"]), float(row["sum"])) for key, row in rows.iterrows()}  # type: ignore[index]
