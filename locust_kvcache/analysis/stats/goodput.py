"""Counts the requests that met all service-level objectives, and their rate.

In an open loop TTFT and E2E latency count from the intended time, as a user feels them. A failed request meets
nothing. An answer too short to have a TPOT is not held to the TPOT; any other missing time is a miss.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.contract.deployment import OBJECTIVES
from locust_kvcache.contract.errors import BadInput


def meets_slo(records: pd.DataFrame, slo: Mapping[str, float]) -> pd.Series:
    """True for each request that succeeded within every limit of `slo`; a limit itself is still within."""
    unknown = sorted(set(slo) - set(OBJECTIVES))
    if unknown:
        raise BadInput(f"slo: unknown objective {unknown[0]!r}; allowed: {', '.join(OBJECTIVES)}; rename or remove it")
    met, felt = records["ok"].astype(bool), from_intended_time(records)
    for name, limit_ms in slo.items():
        within = felt[name].le(limit_ms)
        met &= within | felt[name].isna() if name == "tpot_ms" else within
    return met


def from_intended_time(records: pd.DataFrame) -> pd.DataFrame:
    """The records with TTFT and E2E latency as from the moment at which the request was to be sent (closed loop: unchanged)."""
    if "schedule_lag_ms" not in records:
        return records
    lag_ms = records["schedule_lag_ms"].clip(lower=0.0).fillna(0.0)
    return records.assign(ttft_ms=records["ttft_ms"] + lag_ms, e2e_ms=records["e2e_ms"] + lag_ms)


def goodput_table(records: pd.DataFrame, slo: Mapping[str, float], rounds: pd.DataFrame) -> pd.DataFrame:
    """Per scenario and round: requests that met all of `slo`, their share of all, and how many per second of the round's wall time."""
    rows = []
    if slo:
        met = meets_slo(records, slo)
        for row in rows_of(rounds):
            mine = met[records["scenario"].eq(row["scenario"]) & records["round"].eq(row["round"])]
            rate = goodput_per_s(int(mine.sum()), row["wall_s"])
            rows.append(
                (row["scenario"], row["round"], len(mine), int(mine.sum()), float(mine.mean()) if len(mine) else None, rate)
            )
    return pd.DataFrame(rows, columns=["scenario", "round", "requests", "met", "met_share", "goodput_per_s"])


def goodput_per_s(met: int, wall_s: float | None) -> float | None:
    """Requests that met all objectives / wall time of their round; None where that is not known."""
    return met / wall_s if wall_s is not None and wall_s > 0 else None
