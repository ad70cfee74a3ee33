"""Two runs come in, one with a store and one without, and what the store costs when cold goes out beside what it gains on a hit.

Writing KV to a store takes bandwidth and memory from the prefill: cold gets slower, which a look at hits alone does not show.
"""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, number, percent
from locust_kvcache.analysis.servers.kv_transfers import SAVE
from locust_kvcache.analysis.tables.table import Stats, Table, find


def has_store(stats: Stats) -> bool:
    """Whether its servers wrote KV below the GPU, or loaded some from there. What a decoder loads may be a direct hand-off: no store."""
    wrote = any(row["kind"] == SAVE and (row["bytes"] or row["seconds"]) for row in stats["transfers"])
    return wrote or any(row["external"] for row in stats["tiers"] if row["role"] != "decoder")


def cost_row(plain: Stats, stored: Stats, scenario: str) -> dict[str, Any] | None:
    """Means of the TTFT in ms; `hits_to_pay`: hits per cold request from which on the store pays, None where it never does."""
    cold, cold_stored, hit_stored = (
        _mean(stats, scenario, group) for stats, group in ((plain, "cold"), (stored, "cold"), (stored, "hit"))
    )
    if cold is None or cold_stored is None or hit_stored is None:
        return None
    cost, gain = cold_stored - cold, cold - hit_stored
    pays = None if gain <= 0 else max(0.0, cost) / gain
    written = sum(row["bytes"] or 0 for row in find(stored["transfers"], scenario=scenario, kind=SAVE) if row["round"] == 1)
    return {"cold_ms": cold, "cold_stored_ms": cold_stored, "cost_ms": cost, "hit_stored_ms": hit_stored, "gain_ms": gain,
            "hits_to_pay": pays, "written_gb": written / 1e9 if written else None}  # fmt: skip


def _mean(stats: Stats, scenario: str, group: str) -> float | None:
    rows = find(stats["distributions"], scenario=scenario, split="round_window", group=group, metric="ttft_ms")
    return float(rows[0]["mean"]) if rows and rows[0]["mean"] is not None else None


def cost_table(named: list[tuple[str, Stats]], scenario: str) -> Table:
    """Every run with a store against the first run without one; empty where there are not both."""
    plain = next(((name, stats) for name, stats in named if not has_store(stats)), None)
    rows = []
    for name, stats in named if plain else []:
        row = cost_row(plain[1], stats, scenario) if plain and has_store(stats) else None
        if row:
            share = percent(row["cost_ms"] / row["cold_ms"])
            pays = "never" if row["hits_to_pay"] is None else f"{row['hits_to_pay']:.2f}"
            rows.append((name, number(row["cold_stored_ms"]), f"{number(row['cost_ms'])} ({share})",
                         number(row["written_gb"]) if row["written_gb"] else DASH, number(row["hit_stored_ms"]),
                         number(row["gain_ms"]), pays))  # fmt: skip
    header = ("", "cold TTFT, ms", "cost of writing, ms", "written when cold, GB", "hit TTFT, ms", "gain of a hit, ms",
              "hits per cold request to pay")  # fmt: skip
    against = f"Against {plain[0]}, which has no store: cost = cold - its cold; gain = its cold - hit. Means." if plain else ""
    return Table(f"{scenario}: what the store costs when cold, and gains on a hit", header, tuple(rows), "by round", (against,))
