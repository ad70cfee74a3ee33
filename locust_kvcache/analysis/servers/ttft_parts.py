"""Takes the client's mean TTFT apart into parts that add up to it exactly.

Each part says how it is known: `measured` by a server's counters, an `estimate`, or the `rest` that no server counted. What the
engine books elsewhere is put right: a KV load in the background stands in its queue time, LMCache's inside its prefill time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.servers.kv_transfers import HAND_OFF, LOAD

MEASURED, ESTIMATE, REST = "measured", "estimate", "rest"
COLUMNS = ("scenario", "round", "role", "part", "ms", "known", "note")
PATH = ("prefiller", "server", "decoder")  # in the order in which a request meets them
CHUNK_TOKENS = 256  # of LMCache and of stores below vLLM: a decoder may compute the rest of one
ALL = 0.9  # share of its prompt tokens that a decoder computes, from which on there is no hand-off to speak of
NOTHING = 0.01  # queue time beyond the baseline, as a share of the prefill, below which no load was booked there
Part = tuple[str, str, float, str, str]  # role, part, ms per request, how it is known, note


def ttft_parts(
    stages: pd.DataFrame,
    moved: pd.DataFrame,
    tiers: pd.DataFrame,
    distributions: pd.DataFrame,
    requests: pd.DataFrame,
    roles: Iterable[str] = (),
) -> pd.DataFrame:
    """COLUMNS, in the order of the path; ms are means per successful request of the client (`requests`: the table of rounds).

    A role's part is weighted by the share of the requests that it served. Rounds without a server's TTFT are left out. `roles` are
    those that the deployment names: where one of them has no counters in a round, what it took stands in the rest, which then says so.
    """
    path = {role for role in (*roles, *stages["role"]) if role in PATH}
    ttft = distributions[distributions["split"].eq("round") & distributions["metric"].eq("ttft_ms")]
    rows: list[tuple[Any, ...]] = []
    for row in rows_of(requests):
        key = (row["scenario"], row["round"])
        client = ttft[ttft["scenario"].eq(key[0]) & ttft["group"].eq(str(key[1]))]
        mine = {name: _of(table, key) for name, table in (("stages", stages), ("moved", moved), ("tiers", tiers))}
        if client.empty or mine["stages"].empty or not row["succeeded"]:
            continue
        quiet = _queue_without_load(stages, tiers, key[0])
        parts = [
            part
            for role in sorted(
                rows_of(mine["stages"]), key=lambda entry: PATH.index(entry["role"]) if entry["role"] in PATH else 9
            )
            for part in _role_parts(role, mine["moved"], mine["tiers"], row["succeeded"], quiet)
        ]
        rest = float(client["mean"].iloc[0]) - sum(part[2] for part in parts)
        rows += [(*key, *part) for part in [*parts, _rest(rest, mine["stages"], path)]]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of(table: pd.DataFrame, key: tuple[str, int]) -> pd.DataFrame:
    return table[table["scenario"].eq(key[0]) & table["round"].eq(key[1])]


def _queue_without_load(stages: pd.DataFrame, tiers: pd.DataFrame, scenario: str) -> dict[str, float]:
    """Per role: the shortest queue time of a round in which it loaded nothing; the baseline for an estimate of a load."""
    joined = stages[stages["scenario"].eq(scenario)].merge(tiers, on=["scenario", "round", "role"], how="left")
    still = joined[joined["external"].fillna(0).eq(0) & joined["queue_ms"].notna()]
    return {str(role): float(queue) for role, queue in still.groupby("role")["queue_ms"].min().items()}


def _role_parts(
    role: dict[str, Any], moved: pd.DataFrame, tiers: pd.DataFrame, requests: int, quiet: dict[str, float]
) -> list[Part]:
    """Queue, KV load, prefill and the engine's front end of one role; they add up to its TTFT."""
    name, share = role["role"], role["requests"] / requests
    queue, prefill = ((role[key] if pd.notna(role[key]) else 0.0) * share for key in ("queue_ms", "prefill_ms"))
    total = role["server_ttft_ms"] * share if pd.notna(role["server_ttft_ms"]) else queue + prefill
    source = tiers[tiers["role"].eq(name)]
    loaded, computed = float(source["external"].sum()), float(source["computed"].sum())
    prompt = float(source["gpu"].sum()) + loaded + computed
    loads = moved[moved["role"].eq(name) & moved["kind"].isin([LOAD, HAND_OFF])]
    in_prefill = loads["in_prefill"].astype(bool)
    behind, inside = (1000 * float(loads.loc[where, "seconds"].sum()) / requests for where in (~in_prefill, in_prefill))
    what = "hand-off (KV load)" if name == "decoder" else "KV load"
    parts: list[Part] = []
    queue_load = _load(what, name, behind, queue) if behind else None
    untimed = bool(loaded and not behind and not inside and in_prefill.any())  # within the prefill, and nothing tells how long
    if queue_load is None and loaded and not inside and not untimed:
        queue_load = _estimate(what, name, queue, quiet.get(name, 0.0) * share if name in quiet else None)
        if queue_load and queue_load[2] < NOTHING * prefill:
            queue_load, untimed = None, True
    prefill_load = _load(what, name, inside, prefill) if inside else None
    parts.append((name, "queue", queue - (queue_load[2] if queue_load else 0.0), MEASURED, ""))
    parts += [part for part in (queue_load, prefill_load) if part]
    parts.append(
        (
            name,
            "prefill and KV load" if untimed else _prefill_name(name, computed / requests, computed / max(1.0, prompt)),
            prefill - (prefill_load[2] if prefill_load else 0.0),
            MEASURED,
            "",
        )
    )
    parts.append((name, "engine's front end", total - queue - prefill, MEASURED, "its TTFT less queue and prefill"))
    return parts


def _prefill_name(role: str, computed_tokens: float, share: float) -> str:
    """What a role's prefill time is; `share` of its prompt tokens were computed, `computed_tokens` per request."""
    if role != "decoder":
        return "prefill"
    if computed_tokens <= CHUNK_TOKENS:
        return "first decode"
    return "prefill once more (no hand-off)" if share >= ALL else "prefill of what was not handed off"


def _load(what: str, role: str, seconds_ms: float, booked_ms: float) -> Part:
    """Counted by the connector; ranks and layers that load at once add up to more than the time that is booked: then all of that."""
    if seconds_ms <= booked_ms:
        return role, what, seconds_ms, MEASURED, ""
    return role, what, booked_ms, ESTIMATE, "loads ran at the same time: all of the time that the engine counted for them"


def _estimate(what: str, role: str, queue_ms: float, quiet_ms: float | None) -> Part | None:
    """No counter of the load's time: the queue time beyond that of a round without loads. None where there is no such round."""
    if quiet_ms is None:
        return None
    return role, what, max(0.0, queue_ms - quiet_ms), ESTIMATE, "queue time beyond that of a round without loads"


def _rest(ms: float, stages: pd.DataFrame, path: set[str]) -> Part:
    """What of the client's TTFT no server counted; below zero where roles worked at the same time."""
    if missing := sorted(path - set(stages["role"]), key=PATH.index):
        who = " and ".join(missing)
        return "between", f"not counted ({who})", ms, REST, f"the {who} has no counters for this round: restarted, or not read"
    if ms < 0:
        return (
            "between",
            "overlap (roles at work at the same time)",
            ms,
            REST,
            "the servers' times add up to more than the client's",
        )
    name = "proxy, waiting for the hand-off, network" if stages["role"].eq("decoder").any() else "outside the server"
    return "between", name, ms, REST, "the client's TTFT less the servers'"
