"""Measures how long the caches keep a prompt: which returns hit, how many tokens had passed, and the limit between hits and misses.

Under LRU with C tokens a block is there exactly while fewer than C different tokens were sent since, so that hits and losses are
separated by one number of tokens at any pressure; under a TTL by one time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from locust_kvcache.analysis.across_runs.run_evidence import run_evidence
from locust_kvcache.analysis.cache.server_evidence import server_tables
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.stats.intervals import CONFIDENCE, SEED, cluster_weights
from locust_kvcache.analysis.stats.summary import round_table
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.returns import Returns

Floats = NDArray[np.float64]
HIT_SHARE = 0.5  # of the returning prompt; a prompt that is evicted in part is hit while its first half is there
RESAMPLES = 1000
COLUMNS = ["tokens_per_s", "gap_s", "tokens", "share"]


@dataclass(frozen=True)
class GapRun:
    """One run. `returned`: COLUMNS, a row per return that tells something; `left_out`: those that failed or came before the answer."""

    returns: Returns
    returned: pd.DataFrame
    left_out: int
    gpu_share: float | None  # of the returning tokens, by the servers' counters
    all_share: float | None
    reported_share: float | None  # of the returning tokens, as the answers say
    capacities_tokens: Mapping[str, float]
    leases_s: Mapping[str, float]
    info: RunInfo
    evidence: dict[str, Any]  # run_evidence


@dataclass(frozen=True)
class Limit:
    """Where hits end. `value` is None where returns lie on one side only; `low` or `high` then is the outermost that was tried.

    `low` and `high`: a percentile interval over resampled returns, at least as wide as the gap between the last hit and the first loss;
    None where it has no such end. `against`: returns on the wrong side of the limit."""

    value: float | None
    low: float | None
    high: float | None
    count: int
    against: int


def gap_run(folder: Path) -> GapRun:
    run = load_run(folder)
    study = run.info.study
    try:
        returns = Returns.from_dict(study.get("returns"))
    except TypeError:
        returns = None
    if returns is None or run.records.empty:
        raise BadInput(
            f"{folder}: key study.returns is {study.get('returns')!r} and there are {len(run.records)} records; expected a run of --gaps"
        )
    returned, left_out = returned_prompts(run.records, returns)
    gpu, everything = None, None
    tiers = server_tables(run, round_table(run.records, run.counts))[0]["tiers"]
    role = next((name for name in ("prefiller", "server") if tiers["role"].eq(name).any()), None)
    asked = returns.sessions * returns.prompt_tokens
    if role is not None:
        mine = tiers[tiers["role"].eq(role)][["gpu", "external"]].sum()
        gpu, everything = (min(1.0, float(part) / asked) for part in (mine["gpu"], mine["gpu"] + mine["external"]))
    return GapRun(
        returns,
        returned,
        left_out,
        gpu,
        everything,
        reported_share(run.records, asked),
        study.get("capacities_tokens") or {},
        study.get("leases_s") or {},
        run.info,
        run_evidence(run),
    )


def reported_share(records: pd.DataFrame, asked_tokens: int) -> float | None:
    """Cached tokens that the answers reported / returning tokens; None where an answer tells nothing."""
    told = records[records["ok"]].drop_duplicates("request_index")["reported_cached_tokens"]
    return float(told.sum()) / asked_tokens if len(told) and told.notna().all() else None


def returned_prompts(records: pd.DataFrame, returns: Returns) -> tuple[pd.DataFrame, int]:
    """(COLUMNS of the returns, how many are left out). `gap_s` is from the first answer's end to the return."""
    records = records.sort_values("started_at_s").drop_duplicates("request_index").set_index("request_index", drop=False)
    second = records[records["shares_prefix_with"].notna()]
    first = records.reindex(second["shares_prefix_with"])
    begun, back = first["started_at_s"].to_numpy(float), second["started_at_s"].to_numpy(float)
    gap_s = back - begun - first["e2e_ms"].to_numpy(float) / 1000
    share = second["reported_cached_tokens"].to_numpy(float) / returns.prompt_tokens
    passed = _tokens_between(records, begun, back, returns.prompt_tokens)
    table = pd.DataFrame(
        {
            "tokens_per_s": returns.tokens_per_s,
            "gap_s": gap_s,
            "tokens": passed + returns.prompt_tokens * HIT_SHARE,
            "share": np.minimum(share, 1.0),
        }
    )
    good = (second["ok"] & (gap_s > 0)).to_numpy(bool) & first["ok"].eq(True).to_numpy(bool)
    return table[good].reset_index(drop=True), int((~good).sum())


def _tokens_between(records: pd.DataFrame, begun: Floats, back: Floats, shared_tokens: int) -> Floats:
    """Different tokens that other requests sent between a prompt and its return: of a return in between only its end, and all of it
    where it was first sent before."""
    at = records["started_at_s"].to_numpy(float)
    tokens = records["prompt_tokens"].fillna(records["planned_prompt_tokens"]).to_numpy(float)
    new = tokens - np.where(records["shares_prefix_with"].notna(), shared_tokens, 0)
    summed = np.concatenate([[0.0], np.nancumsum(new)])  # records are in the order of their starts
    after, before = np.searchsorted(at, begun, "right"), np.searchsorted(at, back, "left")
    older = [
        int(((back > one_begun) & (back < one_back) & (begun < one_begun)).sum())
        for one_begun, one_back in zip(begun, back, strict=True)
    ]
    passed: Floats = summed[before] - summed[after] + np.array(older) * shared_tokens
    return passed


def find_limit(values: Sequence[float], shares: Sequence[float]) -> Limit | None:
    """The value that separates hits from losses with the fewest exceptions; None where no return tells how much of it was cached."""
    known = [(value, share) for value, share in zip(values, shares, strict=True) if share == share]
    if not known:
        return None
    known.sort()
    x, hit = np.array([value for value, _ in known]), np.array([share >= HIT_SHARE for _, share in known])
    ends = _separating(x, hit, np.ones((1, len(x))))
    low, high, against = (float(part[0]) for part in ends)
    if low == 0 or high == np.inf:
        return Limit(None, _end(low), _end(high), len(x), int(against))
    drawn_low, drawn_high, _ = _separating(x, hit, cluster_weights(len(x), RESAMPLES, SEED).astype(float))
    tail = 100 * (1 - CONFIDENCE) / 2
    bottom = min(low, float(np.percentile(drawn_low, tail, method="lower")))
    top = max(high, float(np.percentile(drawn_high, 100 - tail, method="higher")))
    return Limit(float(np.sqrt(low * high)), _end(bottom), _end(top), len(x), int(against))


def _end(value: float) -> float | None:
    return value if 0 < value < np.inf else None


def _separating(x: Floats, hit: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Per row of weights: (last value kept, first value lost, weight on the wrong side) of the best limits, the outermost of equal ones;
    0 and infinity where nothing was kept or lost."""
    lost_before = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights * ~hit, axis=1)], axis=1)
    hit_after = (weights * hit).sum(axis=1, keepdims=True) - np.concatenate(
        [np.zeros((len(weights), 1)), np.cumsum(weights * hit, axis=1)], axis=1
    )
    wrong = lost_before + hit_after  # the limit lies before the k-th value
    best = wrong == wrong.min(axis=1, keepdims=True)
    first, last = best.argmax(axis=1), wrong.shape[1] - 1 - best[:, ::-1].argmax(axis=1)
    padded_low, padded_high = np.concatenate([[0.0], x]), np.concatenate([x, [np.inf]])
    return padded_low[first], padded_high[last], wrong.min(axis=1)


LRU, TTL, BOTH, NEITHER, ONE = "lru", "ttl", "both", "neither", "one"


def verdict(tokens: Sequence[Limit | None], seconds: Sequence[Limit | None]) -> str:
    """Which limit is the same at every pressure: that in tokens (LRU), that in time (TTL), both, or neither. ONE: a single pressure, or no
    limit was seen at any. At a pressure where all returns were hit it lies beyond the longest gap, which tells something too."""
    known = [(a, b) for a, b in zip(tokens, seconds, strict=True) if a and b]
    if len(known) < 2 or all(a.value is None for a, _ in known):
        return ONE
    same_tokens, same_time = _overlap([a for a, _ in known]), _overlap([b for _, b in known])
    return BOTH if same_tokens and same_time else LRU if same_tokens else TTL if same_time else NEITHER


def _overlap(limits: Sequence[Limit]) -> bool:
    lows = [limit.low if limit.low is not None else 0.0 for limit in limits]
    highs = [limit.high if limit.high is not None else np.inf for limit in limits]
    return max(lows) <= min(highs)
