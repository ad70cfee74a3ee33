"""Finds in a run of --arms how fast each tier below the GPU loaded, and which of its rounds were answered from there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.basics.number_text import number, plural
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.contract.cache_tiers import TIERS

BELOW = ("cpu", "disk", "store", "below")  # verdicts; "below" where nothing tells which


@dataclass(frozen=True)
class MeasuredTiers:
    """`below`: (scenario, round) that hit below the GPU; `gb_per_s`: median of the rates that are possible, by tier."""

    below: frozenset[tuple[str, int]]
    gb_per_s: Mapping[str, float]
    notes: tuple[str, ...] = ()


def measured_tiers(folder: Path) -> MeasuredTiers:
    return tiers_of_stats(analyse_folder(folder).stats)


def tiers_of_stats(stats: Mapping[str, Any]) -> MeasuredTiers:
    """By the verdicts and load_rates of stats.json; the arm says which tier it was."""
    arms = {(row["scenario"], row["round"]): row["arm"] for row in stats["verdicts"]}
    below = frozenset((row["scenario"], row["round"]) for row in stats["verdicts"] if row["tier"] in BELOW)
    rates: dict[str, list[float]] = {}
    impossible: dict[str, int] = {}
    for row in stats["load_rates"]:
        tier = str(arms.get((row["scenario"], row["round"]))).removesuffix("_hit")
        if tier in TIERS and row["gb_per_s"]:
            if row["plausible"] is False:
                impossible[tier] = impossible.get(tier, 0) + 1
            else:
                rates.setdefault(tier, []).append(row["gb_per_s"])
    found = {tier: statistics.median(values) for tier, values in rates.items()}
    said = [
        f"{tier} loads at {number(rate)} GB/s, measured with {plural(len(rates[tier]), 'scenario')}."
        for tier, rate in found.items()
    ]
    said += [
        f"{tier}: {plural(count, 'measured load rate')} above what its link carries, left out."
        for tier, count in impossible.items()
    ]
    return MeasuredTiers(below, found, tuple(said))
