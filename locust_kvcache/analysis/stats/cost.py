"""Computes what each round cost in money and energy, and how often a stored prompt must be used again for its store to pay.

Measured: the time of a round, its tokens, the power of its GPUs. Assumed: the prices, and that all GPUs of the deployment were the
round's alone. docs/cost.md has every formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.contract.round_kinds import COLD, CONTROL

UNITS = {
    "request": ("succeeded", 1),
    "million_prompt_tokens": ("prompt_tokens", 1e6),
    "million_output_tokens": ("output_tokens", 1e6),
}
Row = dict[str, Any]
OPEN_LOOP = "open loop: the arrivals determine the length of a round"


def cost_rows(rounds: pd.DataFrame, energy: pd.DataFrame, gpus: int | None, price_per_gpu_hour: float | None) -> list[Row]:
    """One row per round, empty where neither a price nor an energy is known; what is not known is None.

    `energy`: gpu_energy.by_round. Joules of a round are its mean power times its wall time.
    """
    hourly = None if gpus is None or price_per_gpu_hour is None else gpus * price_per_gpu_hour
    if hourly is None and energy.empty:
        return []
    told = {(row["scenario"], row["round"]): row for row in rows_of(energy)}
    return [_row(row, told.get((row["scenario"], row["round"]), {}), gpus, hourly) for row in rows_of(rounds)]


def _row(one: Row, energy: Row, gpus: int | None, hourly: float | None) -> Row:
    wall_s, power_w = _known(one["wall_s"]), energy.get("power_w")
    cost = None if hourly is None or wall_s is None else hourly * wall_s / 3600
    joules = None if power_w is None or wall_s is None else power_w * wall_s
    return {
        "scenario": one["scenario"],
        "round": one["round"],
        "kind": one["kind"],
        "wall_s": wall_s,
        "gpus": gpus,
        "gpu_seconds": None if gpus is None or wall_s is None else gpus * wall_s,
        "cost": cost,
        **_per_unit("cost", cost, one),
        **_while_busy(one, hourly),
        **{name: energy.get(name) for name in ("energy_gpus", "power_w", "energy_by", "least_readings")},
        "joules": joules,
        **_per_unit("joules", joules, one),
    }


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _per_unit(name: str, total: float | None, one: Row) -> Row:
    """The whole of it over each kind of unit: the three describe one amount, and are not to be added."""
    found = {}
    for unit, (column, size) in UNITS.items():
        count = _known(one[column])
        found[f"{name}_per_{unit}"] = total * size / count if total is not None and count else None
    return found


def _while_busy(one: Row, hourly: float | None) -> Row:
    """Per request while all users were busy, with the interval of that rate: the cost falls as the rate grows."""
    ends = (("", ""), ("_low", "_high"), ("_high", "_low"))
    found = {}
    for name, of_rate in ends:
        rate = _known(one.get(f"busy_requests_per_s{of_rate}"))
        found[f"busy_cost_per_request{name}"] = hourly / 3600 / rate if hourly is not None and rate else None
    return found


def break_even(
    rounds: pd.DataFrame,
    verdicts: list[Row],
    closed: bool,
    gpus: int | None,
    price_per_gpu_hour: float | None,
    price_per_gb_month: float | None,
    kv_bytes_per_token: float | None,
    weak: Mapping[str, str],
) -> list[Row]:
    """One row for each later round that repeats the cold one: the GPU seconds that its hits saved, over what had to be stored for them.

    reuses_per_month: how often a month what is stored must be used again for its price; None where a hit saved nothing, or where a
    price is not known. `why_not` says why the GPU seconds are not known. `weak`: the scenarios whose change is not the cache's by evidence,
    and why.
    """
    if price_per_gb_month is None and (price_per_gpu_hour is None or kv_bytes_per_token is None):
        return []
    rows = rows_of(rounds)
    tiers = {(row["scenario"], row["round"]): row.get("tier") for row in verdicts}
    cold = {row["scenario"]: row for row in rows if row["kind"] == COLD}
    found = []
    for row in rows:
        if row["kind"] in (COLD, CONTROL) or row["scenario"] not in cold:
            continue
        before = cold[row["scenario"]]
        stored_gb, why_not = (
            _stored_gb(before, kv_bytes_per_token),
            weak.get(row["scenario"]) or _why_not(before, row, closed, gpus),
        )
        saved_s = None if why_not else (gpus or 0) * (before["wall_s"] - row["wall_s"])
        found.append(
            {
                "scenario": row["scenario"],
                "round": row["round"],
                "tier": tiers.get((row["scenario"], row["round"])),
                "stored_gb": stored_gb,
                "saved_gpu_seconds": saved_s,
                "saved_gpu_seconds_per_gb": saved_s / stored_gb if saved_s is not None and stored_gb else None,
                "reuses_per_month": _reuses(stored_gb, saved_s, price_per_gpu_hour, price_per_gb_month),
                "why_not": why_not,
            }
        )
    return found


def _stored_gb(cold: Row, kv_bytes_per_token: float | None) -> float | None:
    """Different prompt tokens of the cold round: all but those that an earlier request of it had sent."""
    prompt, shared = _known(cold["prompt_tokens"]), _known(cold["planned_cached_tokens"])
    if kv_bytes_per_token is None or prompt is None or shared is None:
        return None
    return (prompt - shared) * kv_bytes_per_token / 1e9


def _why_not(cold: Row, later: Row, closed: bool, gpus: int | None) -> str | None:
    if not closed:
        return OPEN_LOOP
    if gpus is None:
        return "`gpus` is not in the deployment file"
    if cold["succeeded"] != later["succeeded"] or not cold["succeeded"]:
        return "the two rounds have different numbers of successful requests"
    return None if _known(cold["wall_s"]) and _known(later["wall_s"]) else "a round has no time"


def _reuses(stored_gb: float | None, saved_s: float | None, gpu_hour: float | None, gb_month: float | None) -> float | None:
    if stored_gb is None or saved_s is None or saved_s <= 0 or not gpu_hour or gb_month is None:
        return None
    return stored_gb * gb_month / (saved_s / 3600 * gpu_hour)
