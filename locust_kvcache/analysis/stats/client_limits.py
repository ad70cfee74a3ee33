"""Decides for each round whether the load generator itself was too slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.stats.intervals import MIN_CLUSTERS

LIMITED_SHARE = 0.1


def lag_by_round(records: pd.DataFrame) -> pd.DataFrame:
    """Per scenario and round: the event loop's lag beside the TTFT. `client_limited` if more than 10 % of the requests are marked so
    (contract.late_stamps.client_was_limited knows who stamped them); of records without that mark, if the P90 of the lag exceeds 10 %
    of the median TTFT.
    """
    rows = []
    keys: Any
    columns = ["loop_lag_ms", "ttft_ms", "tpot_ms", "client_limited", "clock", "icl_p50_ms"]
    for keys, places in group_masks(records, ["scenario", "round"]):
        group = chosen(records, places & records["ok"], columns)
        if group.empty:
            continue
        lag = group["loop_lag_ms"].dropna()
        ttft, tpot = group["ttft_ms"].median(), group["tpot_ms"].median()
        p90 = float(lag.quantile(0.9)) if len(lag) >= MIN_CLUSTERS else None
        marked = group["client_limited"].dropna()
        late = bool(p90 is not None and ttft > 0 and p90 > LIMITED_SHARE * ttft)
        limited = bool(marked.mean() > LIMITED_SHARE) if len(marked) else late
        rows.append(
            {
                "scenario": str(keys[0]),
                "round": int(keys[1]),
                "loop_lag_p90_ms": p90,
                "lag_over_ttft": p90 / ttft if p90 is not None and ttft > 0 else None,
                "lag_over_tpot": p90 / tpot if p90 is not None and tpot > 0 else None,
                "kernel_clock_share": float(group["clock"].eq("kernel").mean()),
                "client_limited": limited,
                "late": _why_late(group, p90) if limited else "",
            }
        )
    return pd.DataFrame(rows, columns=["scenario", "round", "loop_lag_p90_ms", "lag_over_ttft", "lag_over_tpot",
                                       "kernel_clock_share", "client_limited", "late"])  # fmt: skip


def _why_late(group: pd.DataFrame, p90: float | None) -> str:
    """The rule that applied: stamps of the kernel are wrong when chunks wait together, stamps of the process when the loop is late."""
    marked = group[group["client_limited"].eq(1)] if group["client_limited"].notna().any() else group
    lag = "event-loop lag unknown" if p90 is None else f"P90 of the event-loop lag {p90:.1f} ms"
    share = f"{100 * len(marked) / len(group):.0f} % of the requests"
    if marked["clock"].eq("kernel").mean() > 0.5:
        gap = float(marked["icl_p50_ms"].median())  # none where the answers were buffered
        known = f", chunks {gap:.1f} ms apart" if gap == gap else ""
        return f"{lag}{known}; chunks of {share} were read late"
    ttft = float(group["ttft_ms"].median())
    ratio = "" if p90 is None or not ttft > 0 else f", {100 * p90 / ttft:.0f} % of the median TTFT of {ttft:.1f} ms"
    return f"{lag}{ratio}; {share} may have a time stamp that is too late"


def with_certificates(client: pd.DataFrame, beyond: Mapping[tuple[str, int], str]) -> pd.DataFrame:
    """`beyond`: rounds in which a worker received more chunks per second than its certificate covers are client-limited too."""
    keys = list(zip(client["scenario"], client["round"], strict=True))
    late = [text or beyond.get(key, "") for key, text in zip(keys, client["late"], strict=True)]
    limited = [bool(mark) or key in beyond for key, mark in zip(keys, client["client_limited"], strict=True)]
    return client.assign(client_limited=pd.Series(limited, index=client.index, dtype=bool), late=late)


def client_problems(client: pd.DataFrame) -> list[Problem]:
    return [
        Problem(
            "warning",
            "client_limited",
            f"Round {row['round']} of {row['scenario']} is client-limited, its times are not valid: {row['late']}.",
            "Use more workers (--processes, --worker), or fewer users per worker.",
        )
        for row in rows_of(client[client["client_limited"].astype(bool)])
    ]
