"""Makes the tables of a fleet: what each engine did in each round, and how evenly the load was spread."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import number, percent, signed_percent, whole
from locust_kvcache.analysis.servers.engines import UNBALANCED
from locust_kvcache.analysis.tables.table import Stats, Table, find

BY_ENGINE = "by round and engine, by the engines' own counters"


def engine_table(stats: Stats, scenario: str) -> Table:
    """One row per round and engine, where there are two or more engines of any role."""
    several = {row["round"] for row in find(stats.get("balance", ()), scenario=scenario)}
    found = [row for row in find(stats.get("engines", ()), scenario=scenario) if row["round"] in several]
    rows = tuple((f"round {row['round']}, {row['engine']}", *_engine_cells(row)) for row in found)
    header = (
        "", "requests", "prompt tokens", "from the GPU", "from below", "hit rate", "TTFT in the engine, ms", "running, most",
        "waiting, most", "KV cache used, most",
    )  # fmt: skip
    notes = ("Most: the largest of the values that were sampled during the round.",) if rows else ()
    return Table(f"{scenario}: engines", header, rows, BY_ENGINE, notes)


def _engine_cells(row: dict[str, Any]) -> tuple[str, ...]:
    counts = (whole(row[name]) for name in ("requests", "prompt_tokens", "gpu_tokens", "external_tokens"))
    gauges = (whole(row["running_max"]), whole(row["waiting_max"]), percent(row["kv_usage_max"]))
    return (*counts, percent(row["hit_rate"]), number(row["ttft_ms"]), *gauges)


def balance_table(stats: Stats, scenario: str) -> Table:
    """One row per round and role: how far the busiest engine is above the mean of all."""
    rows = tuple(
        (
            f"round {row['round']}, {row['role']}",
            whole(row["engines"]),
            row["idle_names"] or "none",
            row["busiest"],
            number(row["max_over_mean_requests"]),
            number(row["max_over_mean_tokens"]),
            number(row["gini_tokens"]),
        )
        for row in find(stats.get("balance", ()), scenario=scenario)
    )
    header = (
        "",
        "engines",
        "idle",
        "busiest",
        "requests, busiest / mean",
        "prompt tokens, busiest / mean",
        "Gini of prompt tokens",
    )
    notes = ("Busiest / mean: 1 is even, the number of engines is one for all. Gini: 0 is even.",) if rows else ()
    return Table(f"{scenario}: balance of the engines", header, rows, BY_ENGINE, notes, texts=(2, 3))


def fleet_sentence(stats: Stats) -> str:
    """What the headline says first where engines stood idle or the load was uneven; empty otherwise."""
    uneven = [row for row in stats.get("balance", ()) if row["idle"] or row["max_over_mean_tokens"] > UNBALANCED]
    if not uneven:
        return ""
    worst = max(uneven, key=lambda row: (row["idle"], row["max_over_mean_tokens"]))
    said = (
        f"{worst['idle']} of {worst['engines']} engines stood idle ({worst['idle_names']})"
        if worst["idle"]
        else f"{worst['busiest']} got {number(worst['max_over_mean_tokens'])} times the mean load of {worst['engines']} engines"
    )
    return f"{said}: do not compare this deployment by its change from cold to hit."


LOSSES = (
    ("reusable", "reusable in the workload", "", ""),
    ("held", "held by an engine", "evicted: no engine held it any more", "larger caches, or a store below them"),
    ("captured", "captured by the routing", "another engine held more", "a policy by prefix or by session, or a shared store"),
    (
        "delivered",
        "delivered by the engines",
        "still being computed, or evicted earlier",
        "see where the cached tokens went",
    ),
)


PAID_NOTE = (
    "Paid out in time: the mean TTFT against round 1, of the same requests. Lost there: by how much less it fell than the prompt tokens "
    "that were left to compute."
)
PAID_SHORT = 0.1  # the TTFT falls by so much less than the tokens to compute: something else took the time


def _paid_row(found: dict[str, Any]) -> tuple[str, ...] | None:
    """What the delivered tokens did to the TTFT, against round 1; None in round 1."""
    if found.get("ttft_cut") is None:
        return None
    cut, possible = found["ttft_cut"], found["compute_cut"]
    lost = possible - cut > PAID_SHORT
    why = (
        ("loading, queueing and fixed times took the rest", "see the parts of the TTFT and the balance of the engines")
        if lost
        else ("", "")
    )
    times = f"TTFT {number(found['round_1_ttft_ms'])} to {number(found['ttft_ms'])} ms"
    return (
        f"round {found['round']}: paid out in time",
        times,
        signed_percent(-cut),
        percent(possible - cut) if lost else "",
        *why,
    )


def waterfall_table(stats: Stats, scenario: str) -> Table:
    """Tokens of each step and what is lost before it, with its cause and remedy."""
    rows: list[tuple[str, ...]] = []
    for found in find(stats.get("waterfall", ()), scenario=scenario):
        before = None
        for step, name, cause, remedy in LOSSES:
            tokens = found[step]
            lost = "" if before is None else whole(before - tokens)
            share = percent(tokens / found["prompt_tokens"]) if found["prompt_tokens"] else ""
            shown = (cause, remedy) if before is not None and before > tokens else ("", "")
            rows.append((f"round {found['round']}: {name}", whole(tokens), share, lost, *shown))
            before = tokens
        paid = _paid_row(found)
        rows += [paid] if paid else []
    beyond = sum(found["beyond_tokens"] for found in find(stats.get("waterfall", ()), scenario=scenario))
    more = f"{whole(beyond)} tokens came from somewhere else than the engine's earlier requests, such as a shared store."
    sizes = {found["engine_tokens"] for found in find(stats.get("waterfall", ()), scenario=scenario)}
    size = next((tokens for tokens in sizes if tokens is not None), None)
    known = (
        f"Each engine is simulated as an LRU cache of {whole(size)} tokens."
        if size is not None
        else "The engines' cache sizes are unknown: what they evicted is not known, and counts as held."
    )
    header = ("", "tokens", "of the prompts", "lost", "lost because", "remedy")
    rule = "by round; tokens of successful requests, by the engine that the response names"
    return Table(
        f"{scenario}: where reuse is lost in the fleet",
        header,
        tuple(rows),
        rule,
        (known, *((more,) if beyond else ()), *((PAID_NOTE,) if any(": paid" in row[0] for row in rows) else ())) if rows else (),
        texts=(4, 5),
    )
