"""Reduces runs to the rounds that all of them have, so that they can be compared."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from locust_kvcache.analysis.basics.narrow import group_masks, rows_taken
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.cache import hit_effects
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.stats import dependence, summary


def with_rounds(analysis: Analysis, kept: set[tuple[str, int]]) -> Analysis:
    """The same run as if it had these rounds alone, for a comparison: rounds, requests, distributions and effects."""
    rounds = analysis.table("rounds")
    rounds = rounds[[key in kept for key in zip(rounds["scenario"], rounds["round"], strict=True)]]
    requests, asked = analysis.requests, pd.Series(False, index=analysis.requests.index)
    for (scenario, number), places in group_masks(requests, ["scenario", "round"]):
        asked = asked | places if (str(scenario), number) in kept else asked
    if analysis.sampled:
        requests = dependence.add_dependence(requests[asked], requests["session_id"][asked])
    else:
        requests = rows_taken(requests, asked)
    effects = hit_effects.hit_effects(analysis.info, requests, rounds, analysis.info.arrival.closed)
    mine = [
        row for row in analysis.stats["distributions"] if row["split"] == "round" and (row["scenario"], int(row["group"])) in kept
    ]
    pooled = summary.distributions(requests, ["scenario", "round_window"]).rename(columns={"round_window": "group"})
    distributions = [*mine, *plain(pooled.assign(split="round_window").astype({"group": str}))]
    stats = {**analysis.stats, "rounds": plain(rounds), "effects": plain(effects), "distributions": distributions}
    return replace(analysis, stats=stats, requests=requests)
