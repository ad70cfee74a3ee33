"""Sums up each tenant of a mix per round, and how fairly the servers treated them (docs/metrics.md#tenants)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.stats.intervals import MIN_SAMPLES

COLUMNS = [
    "scenario", "round", "tenant", "requests", "failed", "prompt_tokens", "cached_tokens", "hit_rate", "planned_hit_rate",
    "share_of_tokens", "planned_share", "ttft_p50_ms", "ttft_p90_ms", "tokens_per_request_s",
]  # fmt: skip
FAIRNESS = ["scenario", "round", "tenants", "jain_tokens_per_request_s"]


def jain(values: Sequence[float]) -> float | None:
    """Jain's index: (sum of x)^2 / (n x sum of x^2). 1: all alike; 1/n: one has everything. None for fewer than two."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if len(values) > 1 and squares else None


def tenant_table(records: pd.DataFrame) -> pd.DataFrame:
    """One row per scenario, round and tenant; of successful requests, but for `requests` and `failed`. Empty without tenants."""
    if "tenant" not in records or records["tenant"].isna().all():
        return pd.DataFrame(columns=COLUMNS)
    named, rows = records["tenant"].notna(), []
    for key, places in group_masks(records, ["scenario", "round"]):
        group = chosen(records, places & named, USED)
        tokens, planned = (_tokens(group, *names).sum() for names in (COUNTED, PLANNED))
        for tenant in sorted(map(str, group["tenant"].unique())):
            mine = group[group["tenant"].eq(tenant)]
            own = {"share_of_tokens": _share(_tokens(mine, *COUNTED).sum(), tokens),
                   "planned_share": _share(_tokens(mine, *PLANNED).sum(), planned)}  # fmt: skip
            rows.append({"scenario": key[0], "round": int(key[1]), "tenant": tenant, **_of_one(mine), **own})
    return pd.DataFrame(rows, columns=COLUMNS)


USED = [
    "tenant", "ok", "prompt_tokens", "output_tokens", "planned_prompt_tokens", "planned_output_tokens", "reported_cached_tokens",
    "planned_cached_tokens", "ttft_ms", "e2e_ms",
]  # fmt: skip
COUNTED = ("prompt_tokens", "output_tokens")
PLANNED = ("planned_prompt_tokens", "planned_output_tokens")


def _tokens(records: pd.DataFrame, prompt: str, output: str) -> pd.Series:
    """Prompt and output tokens of each request; those that were served, or all that were planned."""
    some = records[records["ok"]] if prompt == "prompt_tokens" else records
    return some[prompt].fillna(0.0) + some[output].fillna(0.0)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _of_one(mine: pd.DataFrame) -> dict[str, Any]:
    ok = mine[mine["ok"]]
    told = ok[ok["reported_cached_tokens"].notna() & ok["prompt_tokens"].notna()]
    ttft_ms = ok["ttft_ms"].dropna().to_numpy(dtype="float64")
    seconds = float(ok["e2e_ms"].sum()) / 1000
    prompt = float(told["prompt_tokens"].sum())
    return {
        "requests": len(mine),
        "failed": int((~mine["ok"]).sum()),
        "prompt_tokens": float(ok["prompt_tokens"].sum()),
        "cached_tokens": float(told["reported_cached_tokens"].sum()) if len(told) else None,
        "hit_rate": _share(float(told["reported_cached_tokens"].sum()), prompt),
        "planned_hit_rate": _share(float(told["planned_cached_tokens"].sum()), prompt),
        "ttft_p50_ms": _quantile(ttft_ms, 0.5),
        "ttft_p90_ms": _quantile(ttft_ms, 0.9),
        "tokens_per_request_s": _share(float(_tokens(mine, *COUNTED).sum()), seconds),
    }


def _quantile(values: np.ndarray, q: float) -> float | None:
    return float(np.quantile(values, q)) if len(values) >= MIN_SAMPLES[q] else None


def fairness_table(tenants: pd.DataFrame) -> pd.DataFrame:
    """One row per scenario and round with two tenants or more."""
    key: Any
    rows = []
    for key, group in tenants.groupby(["scenario", "round"], observed=True, sort=False):
        speeds = group["tokens_per_request_s"].dropna().tolist()
        if len(group) > 1 and len(speeds) == len(group):
            rows.append((key[0], int(key[1]), len(group), jain(speeds)))
    return pd.DataFrame(rows, columns=FAIRNESS)
