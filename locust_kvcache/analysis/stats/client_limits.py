"""Labelled records come in, whether the load generator itself was too slow goes out: a row per round, and a Problem for each such one."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.stats.intervals import MIN_CLUSTERS

LIMITED_SHARE = 0.1


def lag_by_round(records: pd.DataFrame) -> pd.DataFrame:
    """Per scenario and round: the event loop's lag beside the TTFT. `client_limited` if more than 10 % of the requests are marked so
    (contract.record.client_was_limited knows who stamped them); of records without that mark, if the P90 of the lag exceeds 10 %
    of the median TTFT.
    """
    rows = []
    keys: Any
    for keys, group in records[records["ok"]].groupby(["scenario", "round"], observed=True, sort=False):
        lag = group["loop_lag_ms"].dropna()
        ttft, tpot = group["ttft_ms"].median(), group["tpot_ms"].median()
        p90 = float(lag.quantile(0.9)) if len(lag) >= MIN_CLUSTERS else None
        marked = group["client_limited"].dropna()
        late = bool(p90 is not None and ttft > 0 and p90 > LIMITED_SHARE * ttft)
        rows.append(
            {
                "scenario": str(keys[0]),
                "round": int(keys[1]),
                "loop_lag_p90_ms": p90,
                "lag_over_ttft": p90 / ttft if p90 is not None and ttft > 0 else None,
                "lag_over_tpot": p90 / tpot if p90 is not None and tpot > 0 else None,
                "kernel_clock_share": float(group["clock"].eq("kernel").mean()),
                "client_limited": bool(marked.mean() > LIMITED_SHARE) if len(marked) else late,
            }
        )
    return pd.DataFrame(rows, columns=["scenario", "round", "loop_lag_p90_ms", "lag_over_ttft", "lag_over_tpot",
                                       "kernel_clock_share", "client_limited"])  # fmt: skip


def with_certificates(client: pd.DataFrame, beyond: Set[tuple[str, int]]) -> pd.DataFrame:
    """`beyond`: rounds in which a worker received more chunks per second than its certificate stands for are client-limited too."""
    also = [(scenario, number) in beyond for scenario, number in zip(client["scenario"], client["round"], strict=True)]
    return client.assign(client_limited=client["client_limited"].astype(bool) | pd.Series(also, index=client.index, dtype=bool))


def _lag(row: dict[str, Any]) -> str:
    p90, share = row["loop_lag_p90_ms"], row["lag_over_ttft"]
    known = p90 is not None and pd.notna(p90) and share is not None and pd.notna(share)
    return f"P90 {p90:.1f} ms, {share:.0%} of the median TTFT" if known else "lag unknown"


def client_problems(client: pd.DataFrame) -> list[Problem]:
    limited = client[client["client_limited"].astype(bool)]
    return [
        Problem(
            "warning",
            "client_limited",
            f"Round {row['round']} of {row['scenario']} is client-limited: the load generator was held up so long "
            f"({_lag(row)}), or received so many chunks per second, that its own times could have moved.",
            "Use more workers (--processes, --worker), or fewer users per worker.",
        )
        for row in rows_of(limited)
    ]
