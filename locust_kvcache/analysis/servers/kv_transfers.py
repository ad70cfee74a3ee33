"""Computes the KV transfers of each round: bytes, seconds, rate and failures per role and operation.

Stores and connectors count in names of their own: vLLM's Mooncake store, MooncakeConnector and NIXL, and LMCache inside the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.server_counters import delta_sum, label

LOAD, SAVE, HAND_OFF, OTHER = "load", "save", "hand-off", "other"
STORE = "vllm:mooncake_store_operation_"
LMCACHE_TOKENS = "lmcache:num_hit_tokens_total"
LMCACHE_CHUNK = 256
STORE_KINDS = {"load_get": LOAD, "save_put": SAVE}
COLUMNS = (
    "scenario", "round", "role", "via", "operation", "kind", "bytes", "seconds", "gb_per_s", "failed", "in_prefill",
)  # fmt: skip


@dataclass(frozen=True)
class Counters:
    """Names of one kind of transfer. `in_prefill`: it is booked there by the engine, not as queue time."""

    via: str
    operation: str
    kind: str
    bytes: str | None
    seconds: str | None
    failed: tuple[str, ...] = ()
    in_prefill: bool = False


NAMED = (
    Counters(
        "MooncakeConnector", "push", HAND_OFF, "vllm:mooncake_bytes_transferred_sum", "vllm:mooncake_xfer_time_seconds_sum",
        ("vllm:mooncake_num_failed_transfers_total", "vllm:mooncake_num_failed_recvs_total", "vllm:mooncake_num_kv_expired_reqs_total"),
    ),
    Counters(
        "NIXL", "read", HAND_OFF, "vllm:nixl_bytes_transferred_sum", "vllm:nixl_xfer_time_seconds_sum",
        ("vllm:nixl_num_failed_transfers_total", "vllm:nixl_num_failed_notifications_total", "vllm:nixl_num_kv_expired_reqs_total"),
    ),
    Counters("LMCache", "retrieve", LOAD, None, "lmcache:time_to_retrieve_sum", ("lmcache:get_blocking_failed_count",), True),
    Counters("LMCache", "store", SAVE, None, "lmcache:time_to_store_sum", ("lmcache:put_failed_count",), True),
    Counters("LMCache", "remote read", OTHER, "lmcache:num_remote_read_bytes_total", None),
    Counters("LMCache", "remote write", OTHER, "lmcache:num_remote_write_bytes_total", None),
)  # fmt: skip


def transfers(table: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS per scenario, round, role and operation, missing where no counter tells.

    Seconds are summed over requests and ranks, so a rate is that of one of them.
    """
    key: Any
    rows = []
    for key, group in table.groupby(["scenario", "round", "role"], sort=False):
        store = group[group["metric"].str.startswith(STORE)]
        for operation, moves in store.groupby(store["labels"].map(lambda text: label(text, "operation")), sort=False):
            name = Counters(
                "Mooncake store",
                str(operation),
                STORE_KINDS.get(str(operation), OTHER),
                f"{STORE}bytes_total",
                f"{STORE}time_seconds_sum",
                (f"{STORE}failed_keys_total",),
            )
            rows.append((*key, *_figures(moves, name)))
        for name in NAMED:
            if group["metric"].isin([name.bytes, name.seconds, *name.failed]).any():
                rows.append((*key, *_figures(group, name)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _grown(group: pd.DataFrame, *metrics: str | None) -> float | None:
    """How much these counters grew together; None where the page has none of them."""
    if not group["metric"].isin(metrics).any():
        return None
    return sum(delta_sum(group, metric) for metric in metrics if metric)


def _figures(group: pd.DataFrame, name: Counters) -> tuple[Any, ...]:
    moved, seconds, failed = _grown(group, name.bytes), _grown(group, name.seconds), _grown(group, *name.failed)
    rate = moved / seconds / 1e9 if moved and seconds else None
    return name.via, name.operation, name.kind, moved, seconds, rate, failed, name.in_prefill


def without_late(moved: pd.DataFrame, table: pd.DataFrame, tiers: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """LMCache's figures are missing for rounds that they do not belong to.

    LMCache brings its counters to the page every 10 s (`log_interval`), vLLM at once. They belong to a round if the tokens that LMCache
    says it found are those that the engine says it got from below, once per rank, or off by less than a chunk.
    """
    at = ["scenario", "round", "role"]
    hits = table[table["metric"].eq(LMCACHE_TOKENS)].groupby(at, sort=False)["delta"].sum().rename("hits").reset_index()
    known = hits.merge(tiers[[*at, "external"]], on=at)
    same = [_same_tokens(row["hits"], row["external"]) for row in rows_of(known)]
    late = known[~pd.Series(same, index=known.index, dtype=bool)]
    theirs = moved["via"].eq("LMCache") & pd.MultiIndex.from_frame(moved[at]).isin(pd.MultiIndex.from_frame(late[at]))
    figures = ["bytes", "seconds", "gb_per_s", "failed"]
    return moved.assign(**{name: moved[name].where(~theirs) for name in figures}), _late_note(rows_of(late))


def _late_note(late: list[dict[str, Any]]) -> list[Problem]:
    if not late:
        return []
    rounds = "; ".join(
        f"round {row['round']} of {row['scenario']}: {row['hits']:,.0f} tokens found, the {row['role']}'s engine got {row['external']:,.0f}"
        for row in late
    )
    text = f"LMCache publishes its counters every 10 s, so those seen in some rounds are in part another round's ({rounds})."
    return [Problem("note", "lmcache_late", text, "LMCache's times are left out of these rounds. Longer rounds have them.")]


def _same_tokens(hits: float, external: float) -> bool:
    ranks = max(1, round(hits / external)) if external else 1
    return abs(hits - ranks * external) < LMCACHE_CHUNK * ranks


def efficiency(moved: pd.DataFrame, tiers: pd.DataFrame, kv_bytes_per_token: float | None) -> pd.DataFrame:
    """Bytes that were moved per token that was loaded, against the model's KV bytes per token: more is padding or loading twice.

    One row per scenario, round and role that loaded KV from below the GPU and counted its bytes.
    """
    loads = moved[moved["kind"].isin([LOAD, HAND_OFF]) & (moved["bytes"] > 0)]
    joined = loads.merge(tiers[tiers["external"] > 0], on=["scenario", "round", "role"])
    per_token = joined["bytes"] / joined["external"]
    share = per_token / kv_bytes_per_token if kv_bytes_per_token else pd.Series(float("nan"), index=joined.index)
    columns = ["scenario", "round", "role", "via", "external", "bytes_per_token", "of_kv_bytes", "gb_per_s"]
    return joined.assign(bytes_per_token=per_token, of_kv_bytes=share)[columns].rename(columns={"external": "loaded_tokens"})
