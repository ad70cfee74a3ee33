"""Computes what a KV store costs when cold and gains on a hit, from a run with it and one without.

Writing KV to a store takes bandwidth and memory from the prefill: cold gets slower, which a look at hits alone does not show.
"""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, number, percent
from locust_kvcache.analysis.cache.arm_effects import BELOW
from locust_kvcache.analysis.servers.kv_transfers import SAVE
from locust_kvcache.analysis.tables.claim_words import claim_of
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of


def has_store(stats: Stats) -> bool:
    """Whether its servers wrote KV below the GPU, or loaded some from there. What a decoder loads may be a direct hand-off: no store."""
    wrote = any(row["kind"] == SAVE and (row["bytes"] or row["seconds"]) for row in stats["transfers"])
    return wrote or any(row["external"] for row in stats["tiers"] if row["role"] != "decoder")


def cost_row(plain: Stats, stored: Stats, scenario: str) -> dict[str, Any] | None:
    """Means of the TTFT in ms; `hits_to_pay`: hits per cold request from which on the store pays, None where it never does.

    None where the two cannot say it: deployments of another kind, figures that are not valid, no later round that a tier below the GPU
    answered (what the GPU's own cache answers is no merit of the store), or cold rounds that are no evidence of a cost.
    """
    if run_of(plain).deployment.kind != run_of(stored).deployment.kind or not (
        _usable(plain, scenario) and _usable(stored, scenario)
    ):
        return None
    cold, cold_stored = _mean(plain, scenario, 1), _mean(stored, scenario, 1)
    from_store = [
        row["round"] for row in find(stored["verdicts"], scenario=scenario) if row["tier"] in BELOW and row["round"] > 1
    ]
    hits = {number_: mean for number_ in from_store if (mean := _mean(stored, scenario, number_)) is not None}
    if cold is None or cold_stored is None or not hits or not _cold_differs(plain, stored, scenario):
        return None
    hit_stored = sum(hits.values()) / len(hits)
    without = [_mean(plain, scenario, number_) or cold for number_ in hits]  # what the same round takes where there is no store
    cost, gain = cold_stored - cold, sum(without) / len(without) - hit_stored
    pays = None if gain <= 0 else max(0.0, cost) / gain
    written = sum(row["bytes"] or 0 for row in find(stored["transfers"], scenario=scenario, kind=SAVE) if row["round"] == 1)
    return {"cold_ms": cold, "cold_stored_ms": cold_stored, "cost_ms": cost, "hit_stored_ms": hit_stored, "gain_ms": gain,
            "hits_to_pay": pays, "written_gb": written / 1e9 if written else None}  # fmt: skip


def _mean(stats: Stats, scenario: str, number_: int) -> float | None:
    rows = find(stats["distributions"], scenario=scenario, split="round", group=str(number_), metric="ttft_ms")
    return float(rows[0]["mean"]) if rows and rows[0]["mean"] is not None else None


def _usable(stats: Stats, scenario: str) -> bool:
    return bool(claim_of(stats, scenario)["valid"])


def _cold_differs(plain: Stats, stored: Stats, scenario: str) -> bool:
    """Whether the two cold rounds are apart: the intervals of their medians, of few requests their ranges, do not overlap."""
    rows = [
        find(stats["distributions"], scenario=scenario, split="round", group="1", metric="ttft_ms")[0]
        for stats in (plain, stored)
    ]
    carried = all(row["median_low"] is not None and row["median_high"] is not None for row in rows)
    names = ("median_low", "median_high") if carried else ("min", "max")
    ends = [(row[names[0]], row[names[1]]) for row in rows]
    return bool(ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0])


def cost_table(named: list[tuple[str, Stats]], scenario: str) -> Table:
    """Every run with a store against the first run without one; empty where there are not both."""
    plain = next(((name, stats) for name, stats in named if not has_store(stats)), None)
    rows = []
    for name, stats in named if plain else []:
        row = cost_row(plain[1], stats, scenario) if plain and has_store(stats) else None
        if row:
            share = percent(row["cost_ms"] / row["cold_ms"])
            pays = "never" if row["hits_to_pay"] is None else number(row["hits_to_pay"])
            rows.append((name, number(row["cold_stored_ms"]), f"{number(row['cost_ms'])} ({share})",
                         number(row["written_gb"]) if row["written_gb"] else DASH, number(row["hit_stored_ms"]),
                         number(row["gain_ms"]), pays))  # fmt: skip
    header = ("", "cold TTFT, ms", "cost of writing, ms", "written when cold, GB", "hit TTFT, ms", "gain of a hit, ms",
              "hits per cold request to pay")  # fmt: skip
    against = f"Against {plain[0]}, which has no store: cost = cold - its cold; gain = its cold - hit. Means." if plain else ""
    return Table(f"{scenario}: cost of the store when cold, gain on a hit", header, tuple(rows), "by round", (against,))
