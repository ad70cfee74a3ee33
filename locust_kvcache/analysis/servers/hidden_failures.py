"""Finds failures that no client can see, from the servers' counters."""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.kv_transfers import SAVE
from locust_kvcache.analysis.servers.ttft_parts import ALL, CHUNK_TOKENS

Facts = dict[str, Any]


def hidden_failures(rounds: pd.DataFrame, tiers: pd.DataFrame, moved: pd.DataFrame, block: int) -> list[Problem]:
    found = []
    for row in rows_of(rounds):
        key = (row["scenario"], row["round"])
        where = f"round {row['round']} of {row['scenario']}"
        found += _no_hand_off(where, row["succeeded"] or 0, _of(tiers, key), block)
        found += _failed_transfers(where, _of(moved, key))
        found += _empty_streams(where, row)
    return found


SLOWER = 1.2  # times the cold TTFT, from which on a hit that is slower than computing is no accident


def slow_puts(verdicts: pd.DataFrame, moved: pd.DataFrame, distributions: pd.DataFrame) -> list[Problem]:
    """A round that the GPU's own cache answered, and that took longer than cold while puts to a store failed or moved nothing."""
    puts = moved[moved["kind"].eq(SAVE)]
    stuck = puts[puts["failed"].fillna(0).gt(0) | (puts["seconds"].gt(0) & puts["bytes"].eq(0))]
    times = distributions[distributions["split"].eq("round") & distributions["metric"].eq("ttft_ms")]
    mean = {(row["scenario"], row["group"]): row["mean"] for row in rows_of(times)}
    found = []
    for row in rows_of(verdicts[verdicts["tier"].eq("gpu")]):
        cold, hit = mean.get((row["scenario"], "1")), mean.get((row["scenario"], str(row["round"])))
        if row["round"] == 1 or not cold or not hit or hit < SLOWER * cold or not stuck["scenario"].eq(row["scenario"]).any():
            continue
        text = (
            f"Round {row['round']} of {row['scenario']} was answered by the GPU's own cache and took {hit / cold:.1f} times the cold TTFT, "
            f"while puts to the {stuck['via'].iloc[0]} failed or moved nothing: requests wait for a store that does not answer."
        )
        found.append(
            Problem("warning", "slow_puts", text, "Start the store again, or remove it from the servers' configuration.")
        )
    return found


def _of(table: pd.DataFrame, key: tuple[str, int]) -> pd.DataFrame:
    return table[table["scenario"].eq(key[0]) & table["round"].eq(key[1])]


def _no_hand_off(where: str, requests: int, tiers: pd.DataFrame, block: int) -> list[Problem]:
    """A decoder has to compute less than a block of each prompt, less than a chunk where stores keep whole chunks only."""
    mine = tiers[tiers["role"].eq("decoder")]
    computed, prompt = float(mine["computed"].sum()), float(mine[["gpu", "external", "computed"]].sum().sum())
    if not requests or computed <= requests * max(block, CHUNK_TOKENS):
        return []
    each = f"{computed:,.0f} prompt tokens in {where} ({computed / requests:,.0f} per request)"
    how = (
        "does not happen"
        if computed >= ALL * prompt
        else f"happens only in part ({1 - computed / prompt:.0%} of its prompt tokens)"
    )
    todo = (
        "Its puts fail (see what was moved), or are slower than the proxy: use one that waits for them, or a direct hand-off "
        "(NIXL, MooncakeConnector)."
    )
    return [Problem("warning", "no_hand_off", f"The decoder computed {each}: the hand-off {how}.", todo)]


def _failed_transfers(where: str, moved: pd.DataFrame) -> list[Problem]:
    todo = "The store is full, its master is gone, or transfers fail: see its log and page, and the engine's log."
    return [
        Problem(
            "warning",
            "store_failures",
            f"{move['failed']:,.0f} transfers or keys failed in {move['operation']} ({move['via']}) of the {move['role']} in {where}.",
            todo,
        )
        for move in rows_of(moved[moved["failed"] > 0])
    ]


def _empty_streams(where: str, row: Facts) -> list[Problem]:
    empty = (row.get("failed_by_status") or {}).get("no_output", 0)
    if not empty:
        return []
    text = f"{empty} answers of {where} were 200 OK without a single token."
    return [Problem("warning", "empty_streams", text, "A failed KV load may end so: see the decoder's log.")]
