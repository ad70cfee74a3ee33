"""Computes the change of each arm (gpu_hit, cpu_hit, store_hit) against the cold arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.cache import tier_verdicts
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.servers.kv_transfers import LOAD
from locust_kvcache.analysis.stats import comparison, dependence, pairing
from locust_kvcache.contract.round_kinds import CONTROL

SPLIT = "arm"
EFFECT_COLUMNS = [*comparison.COLUMNS, "p_adjusted", "verdict", "split", "round"]
BELOW = ("store", "disk", "cpu", "below")
RATE_COLUMNS = (
    "scenario", "round", "tokens_per_request", "extra_ttft_ms", "tokens_per_s", "gb_per_s", "gb_per_s_low", "gb_per_s_high",
    "limit_gb_per_s", "plausible", "withheld", "break_even_gb_per_s",
)  # fmt: skip


def arms_of(info: RunInfo) -> dict[int, str]:
    """Round -> arm, empty for a run without arms."""
    return dict(enumerate(info.arms, start=1))


def arm_effects(info: RunInfo, records: pd.DataFrame, rounds: pd.DataFrame, closed: bool) -> pd.DataFrame:
    """As the effects of a hit, for each later round by itself: columns of `effects`, with `round`; split is arm.

    Against the control where there is one, else against the first round.
    """
    tables, paused = [], dependence.paused(records)
    control = next((number for number, arm in arms_of(info).items() if arm == CONTROL), None)
    first = control or 1
    for number in [number for number in list(arms_of(info))[1:] if number != control]:
        pairs = pairing.pair_two_rounds(records, first, number)
        if pairs.empty:
            continue
        latencies, sides = comparison.effects(pairs), (rounds[rounds["round"] == first], rounds[rounds["round"] == number])
        rates = comparison.rate_effects(*sides, latencies, closed, paused)
        both = [table for table in (latencies, rates) if len(table)]
        tables.append(pd.concat(both, ignore_index=True).assign(split=SPLIT, round=number))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=EFFECT_COLUMNS)


def load_rates(
    verdicts: pd.DataFrame,
    records: pd.DataFrame,
    kv_bytes_per_token: float | None,
    limit_gb_per_s: float | None,
    moved: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """What loading KV from below the GPU costs, against the same requests hit on the GPU (one row per such round).

    rate = tokens from below per request / (mean TTFT of the arm - mean TTFT of the GPU hit), over the same planned requests, with
    computing the rest of a chunk in it. A rate above `limit_gb_per_s` is not possible: one of the two arms was not what it was taken for.
    `withheld` says why no rate is given: the difference may be 0, the connector's own counters (`moved`) say something else, or several
    requests loaded at the same time.
    """
    rows = []
    for scenario, group in verdicts.groupby("scenario", sort=False):
        gpu = group.loc[group["tier"].eq("gpu"), "round"]
        computed_ms = _computed_ms(records, scenario, group, int(gpu.iloc[0])) if len(gpu) else None
        for row in group[group["tier"].isin(BELOW)].to_dict("records") if len(gpu) else []:
            pairs = pairing.pair_two_rounds(records, int(gpu.iloc[0]), int(row["round"]), str(scenario))
            if pairs.empty:
                continue
            table = comparison.effects(pairs)
            ttft = table[table["metric"].eq("ttft_ms") & table["statistic"].eq("mean")].iloc[0]
            tokens = float(row["below_tokens"]) / len(pairs)
            rates = [_rate(tokens, ttft[key]) for key in ("difference", "difference_high", "difference_low")]
            gb = [rate * kv_bytes_per_token / 1e9 if rate and kv_bytes_per_token else None for rate in rates]
            mine = records["scenario"].eq(scenario) & records["round"].eq(row["round"])
            waiting = _waiting_at_once(chosen(records, mine, ["ttft_ms", "started_at_s"]))
            withheld = _withheld(ttft, gb[0], _counted_gb_per_s(moved, row), waiting)
            if withheld:
                rates, gb = [None] * 3, [None] * 3
            plausible = None if gb[0] is None or limit_gb_per_s is None else gb[0] <= limit_gb_per_s
            even = _rate(tokens, computed_ms)
            told = (limit_gb_per_s, plausible, withheld, even * kv_bytes_per_token / 1e9 if even and kv_bytes_per_token else None)
            rows.append((scenario, row["round"], tokens, ttft["difference"], rates[0], *gb, *told))
    return pd.DataFrame(rows, columns=RATE_COLUMNS)


def _computed_ms(records: pd.DataFrame, scenario: Any, group: pd.DataFrame, gpu: int) -> float | None:
    """By how much computing the prompts takes longer than a GPU hit; None where no round was cold, or its requests queued."""
    cold = group.loc[group["verdict"].isin((tier_verdicts.COLD, tier_verdicts.BY_NONCE)) & group["round"].lt(gpu), "round"]
    if cold.empty:
        return None
    first = int(cold.iloc[0])
    mine = records["scenario"].eq(scenario) & records["round"].eq(first)
    pairs = pairing.pair_two_rounds(records, gpu, first, str(scenario))
    if pairs.empty or _waiting_at_once(chosen(records, mine, ["ttft_ms", "started_at_s"])) > AT_ONCE:
        return None
    table = comparison.effects(pairs)
    ttft = table[table["metric"].eq("ttft_ms") & table["statistic"].eq("mean")].iloc[0]
    return None if pd.isna(ttft["difference"]) else float(ttft["difference"])


CONTRADICTED = 10.0  # times the rate that the connector counts, which is that of one rank
AT_ONCE = 1.5  # requests that wait for their first token, on average: from there on they load beside one another


def _waiting_at_once(records: pd.DataFrame) -> float:
    """Requests that waited for their first token at the same time: the sum of their TTFTs over the time in which any did."""
    timed = records[records["ttft_ms"].notna() & records["started_at_s"].notna()]
    if timed.empty:
        return 0.0
    seconds = timed["ttft_ms"] / 1000
    span_s = float((timed["started_at_s"] + seconds).max() - timed["started_at_s"].min())
    return float(seconds.sum()) / span_s if span_s > 0 else 0.0


def _withheld(ttft: pd.Series, gb_per_s: float | None, counted_gb_per_s: float | None, waiting: float) -> str:
    if waiting > AT_ONCE:
        return f"{waiting:,.0f} requests waited for their first token at once, so the difference is not the time of one load"
    low, high = ttft["difference_low"], ttft["difference_high"]
    if low is not None and high is not None and low <= 0:
        return f"loading cost {low:,.1f} to {high:,.1f} ms: the difference may be 0, so there is no upper limit for the rate"
    if gb_per_s and counted_gb_per_s and gb_per_s > CONTRADICTED * counted_gb_per_s:
        return f"the connector's own counters say {counted_gb_per_s:.3g} GB/s, the difference {gb_per_s:.3g}"
    return ""


def _counted_gb_per_s(moved: pd.DataFrame | None, row: Mapping[Any, Any]) -> float | None:
    """The fastest load that a connector or store counted in that round."""
    if moved is None or moved.empty:
        return None
    mine = moved[moved["scenario"].eq(row["scenario"]) & moved["round"].eq(row["round"]) & moved["kind"].eq(LOAD)]
    found = mine["gb_per_s"].astype("float64").max()
    return None if pd.isna(found) else float(found)


def _rate(tokens: float, extra_ms: float | None) -> float | None:
    """Tokens per second; None where the load cost nothing that could be measured."""
    return tokens / (extra_ms / 1000) if extra_ms is not None and extra_ms > 0 else None


def implausible(rates: pd.DataFrame) -> list[Problem]:
    """Load rates that no link carries: flagged, not reported as a fact."""
    return [
        Problem(
            "warning",
            "load_rate",
            f"Round {row['round']} of {row['scenario']} seems to load {row['gb_per_s']:,.1f} GB/s; the link carries "
            f"{row['limit_gb_per_s']:,.0f}.",
            "The GPU-hit arm has overhead that this arm does not have, or not all KV was moved: do not use this rate.",
        )
        for row in rates[rates["plausible"].eq(False)].to_dict("records")
    ]


def below_break_even(rates: pd.DataFrame) -> list[Problem]:
    """Loads that take longer than computing, also at the upper end of their interval: why a hit below the GPU does not pay."""
    slow = rates[rates["gb_per_s_high"].astype("float64") < rates["break_even_gb_per_s"].astype("float64")]
    return [
        Problem(
            "note",
            "below_break_even",
            f"Round {row['round']} of {row['scenario']} loads {row['gb_per_s']:,.3g} GB/s and would have to load more than "
            f"{row['break_even_gb_per_s']:,.3g} GB/s to be faster than computing the prompts.",
            "Use a faster link (RDMA), larger transfers (a larger block size) or fewer bytes per token (an FP8 KV cache).",
        )
        for row in slow.to_dict("records")
    ]
