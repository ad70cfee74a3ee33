"""Makes the tables of the servers' time and transfers: parts of the TTFT, what moved, achieved against possible gain."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.basics.number_text import DASH, number, percent, whole
from locust_kvcache.analysis.servers.ttft_parts import ESTIMATE
from locust_kvcache.analysis.tables.table import Stats, Table, find, run_of

BY_ROUND = "by round"
SHOWN_COUNTERS = ("prefix_cache", "preempt", "evict", "lmcache_mp_lookup")


def part_name(row: dict[str, Any]) -> str:
    """prefiller: KV load (estimate)."""
    name = row["part"] if row["role"] == "between" else f"{row['role']}: {row['part']}"
    return f"{name} (estimate)" if row["known"] == ESTIMATE else name


def parts_table(stats: Stats, scenario: str) -> Table:
    """The client's mean TTFT taken apart: a row per part, a column per round, and the sum."""
    found = find(stats["ttft_parts"], scenario=scenario)
    numbers = list(dict.fromkeys(row["round"] for row in found))
    parts = {(part_name(row), row["round"]): row["ms"] for row in found}
    rows = [
        (name, *(number(parts.get((name, round_))) for round_ in numbers))
        for name in dict.fromkeys(part_name(row) for row in sorted(found, key=place))
    ]
    sums = {round_: sum(row["ms"] for row in found if row["round"] == round_) for round_ in numbers}
    measured = {
        round_: sum(row["ms"] for row in found if row["round"] == round_ and row["role"] != "between") for round_ in numbers
    }
    if rows:
        rows.append(("client's TTFT (sum)", *(number(sums[round_]) for round_ in numbers)))
        shares = [percent(measured[round_] / sums[round_]) if sums[round_] else DASH for round_ in numbers]
        rows.append(("counted by the servers", *shares))
    notes = tuple(dict.fromkeys(f"{row['part']}: {row['note']}." for row in found if row["known"] == ESTIMATE))
    header = ("mean, ms", *(f"round {round_}" for round_ in numbers))
    return Table(f"{scenario}: TTFT breakdown", header, tuple(rows), BY_ROUND, notes)


def place(row: dict[str, Any]) -> tuple[int, int]:
    """Parts of one role beside each other in the order of the path, what lies between the roles last."""
    words = ("queue", "load", "prefill", "decode", "front end")
    within = [place for place, word in enumerate(words) if word in row["part"]]
    if row["part"].startswith("prefill"):  # also one that holds the load
        within = [words.index("prefill")]
    return {"prefiller": 0, "server": 0, "decoder": 1, "between": 3}.get(row["role"], 2), within[0] if within else 9


def stage_table(stats: Stats, scenario: str) -> Table:
    """Stage times by the servers' histograms, beside the client's TTFT."""
    rows = []
    for row in find(stats["stages"], scenario=scenario):
        client = find(stats["distributions"], scenario=scenario, split="round", group=str(row["round"]), metric="ttft_ms")
        times = [number(row[key]) for key in ("queue_ms", "prefill_ms", "decode_ms", "server_ttft_ms")]
        name = f"round {row['round']}, {row['role']}"
        rows.append((name, whole(row["requests"]), *times, number(client[0]["mean"]) if client else DASH))
    header = ("", "requests", "queue, ms", "prefill, ms", "decode, ms", "server's TTFT, ms", "client's TTFT, ms")
    note = "Means per request. A KV load in the background is booked as queue time by the engine."
    return Table(f"{scenario}: stage times, measured by the servers", header, tuple(rows), BY_ROUND, (note,))


def transfer_table(stats: Stats, scenario: str) -> Table:
    """What connectors and stores moved."""
    rows = []
    for row in find(stats["transfers"], scenario=scenario):
        if row["bytes"] or row["failed"] or (row["seconds"] and row["kind"] != "other"):
            name = f"round {row['round']}, {row['role']}: {row['operation']} ({row['via']})"
            moved = None if row["bytes"] is None else row["bytes"] / 1e9
            rows.append((name, number(moved), number(row["seconds"]), number(row["gb_per_s"]), whole(row["failed"])))
    header = ("", "GB", "seconds in all", "GB/s", "failed")
    return Table(f"{scenario}: KV that was moved, by the servers' counters", header, tuple(rows), BY_ROUND)


def efficiency_table(stats: Stats, scenario: str) -> Table:
    rows = [
        (f"round {row['round']}, {row['role']} ({row['via']})", whole(row["loaded_tokens"]), whole(row["bytes_per_token"]),
         percent(row["of_kv_bytes"]), number(row["gb_per_s"]))
        for row in find(stats["transfer_efficiency"], scenario=scenario)
    ]  # fmt: skip
    header = ("", "tokens loaded", "bytes per token", "of the model's KV bytes per token", "GB/s")
    note = "Above 100 %: chunks loaded beyond what was used, or KV kept in more bytes than the model's."
    return Table(f"{scenario}: bytes moved per token loaded", header, tuple(rows), BY_ROUND, (note,))


def gain_table(stats: Stats, scenario: str) -> Table:
    """The TTFT reduction of each later round, beside the largest that computing and the link allow."""
    found = find(stats["gains"], scenario=scenario)
    rows = [
        (f"round {row['round']}: {row['verdict']}", whole(row["cached_tokens"]), whole(row["loaded_tokens"]),
         percent(row["reduction"]), percent(row["limit_serial"]), percent(row["limit_overlapped"]), percent(row["of_limit"]))
        for row in found
    ]  # fmt: skip
    header = (
        "", "cached tokens per request", "of them loaded", "TTFT reduction", "possible, loading first", "possible, loading while computing",
        "achieved of possible",
    )  # fmt: skip
    notes = []
    if found:
        work = "the model's FLOP" if found[0]["by_flop"] else "tokens (models.yaml does not give the model's FLOP)"
        known = found[0]["link_gb_per_s"] is not None
        link = (
            f"{number(found[0]['link_gb_per_s'])} GB/s"
            if known
            else "unknown (give link_gb_per_s or gpus in the deployment file)"
        )
        if known and not run_of(stats).deployment.link_gb_per_s:
            link += " (PCIe 5 x16 of each GPU; give link_gb_per_s in the deployment file for the link that KV really crosses)"
        notes.append(f"Work by {work}; link: {link}; cold as measured under this load.")
    return Table(f"{scenario}: achieved against possible gain of a hit", header, tuple(rows), BY_ROUND, tuple(notes))


def counter_table(stats: Stats, scenario: str) -> Table:
    """Lookups, hits, evictions and preemptions by the servers' own names, a column per round."""
    found = [row for row in find(stats["counters"], scenario=scenario) if any(word in row["metric"] for word in SHOWN_COUNTERS)]
    numbers = list(dict.fromkeys(row["round"] for row in sorted(found, key=lambda row: row["round"])))
    grown = {(row["role"], row["metric"], row["round"]): row["delta"] for row in found}
    rows = tuple(
        (f"{role}: {metric}", *(whole(grown.get((role, metric, round_), 0)) for round_ in numbers))
        for role, metric in dict.fromkeys((row["role"], row["metric"]) for row in found)
    )
    header = ("", *(f"round {round_}" for round_ in numbers))
    return Table(
        f"{scenario}: lookups, hits, evictions, preemptions", header, rows, f"{BY_ROUND}; change of the counters during the round"
    )
