"""Finds the time in which all users were busy, the rate in it, and the load of each round.

A round's own rate holds its ramp, its tail and its slowest request; the rate while all users were busy does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.stats.intervals import CONFIDENCE, Floats

BLOCKS = 10  # of the busy time; their mean has Student's interval (batch means)
MIN_BUSY_REQUESTS = 20
PLATEAU = 0.6  # share of a round's time with requests in flight that was spent at its highest level: then that level was its load
COLUMNS = ["scenario", "round", "in_flight_max", "at_max_share", "busy_s", "busy_requests", "busy_requests_per_s",
           "busy_requests_per_s_low", "busy_requests_per_s_high"]  # fmt: skip


def busy_table(records: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS per scenario and round.

    All users are busy from the first moment to the last at which as many requests were in flight as ever in that round. A request counts
    by the share of its own time that lies in there, so that nothing depends on where the ends fall. Workers' wall clocks are compared
    here, as corrected by the load: the ends of a busy time move by their offset, a rate over many requests hardly.
    """
    rows: list[tuple[Any, ...]] = []
    timed = records["ok"] & records["started_at_s"].notna() & records["e2e_ms"].gt(0)
    for key, places in group_masks(records, ["scenario", "round"]):
        group = chosen(records, places & timed, ["started_at_s", "e2e_ms"])
        if group.empty:
            continue
        start = group["started_at_s"].to_numpy(dtype="float64")
        start = start - start.min()
        end = start + group["e2e_ms"].to_numpy(dtype="float64") / 1000
        rows.append((str(key[0]), int(key[1]), *busy_of(start, end)))
    return pd.DataFrame(rows, columns=COLUMNS)


def busy_of(start: Floats, end: Floats) -> tuple[Any, ...]:
    """The values of one round, from `in_flight_max` on."""
    at, level = in_flight(start, end)
    lasted = np.diff(at)
    highest = int(level.max())
    full = np.flatnonzero(level[:-1] == highest)
    some = lasted[level[:-1] > 0].sum()
    share = float(lasted[full].sum() / some) if some > 0 else None
    first, last = float(at[full[0]]), float(at[full[-1] + 1])
    rates = block_rates(start, end, first, last)
    count = float(rates.sum() * (last - first) / BLOCKS)
    if count < MIN_BUSY_REQUESTS or len(start) < 3 * highest:  # users that never took a second request were not kept busy
        return highest, share, last - first, count, None, None, None
    mean, low, high = _batch_means(rates)
    return highest, share, last - first, count, mean, low, high


def in_flight(start: Floats, end: Floats) -> tuple[Floats, np.ndarray]:
    """(times, requests in flight from that time on), in order; an end comes before a start at the same moment."""
    at = np.concatenate([start, end])
    step = np.concatenate([np.ones(len(start), dtype=np.int8), -np.ones(len(end), dtype=np.int8)])
    order = np.lexsort((step, at))
    return at[order], np.cumsum(step[order], dtype=np.int64)


def block_rates(start: Floats, end: Floats, first: float, last: float) -> Floats:
    """Requests per second in each of BLOCKS equal parts of [first, last]; each request spread evenly over its own time."""
    edges = np.linspace(first, last, BLOCKS + 1)
    width, lasts = (last - first) / BLOCKS, end - start
    if width <= 0:
        return np.zeros(BLOCKS)
    inside = (np.clip(np.minimum(end, after) - np.maximum(start, before), 0.0, None) for before, after in pairwise(edges))
    return np.array([(part / lasts).sum() for part in inside]) / width


def _batch_means(rates: Floats) -> tuple[float, float, float]:
    mean, half = (
        float(rates.mean()),
        float(special.stdtrit(BLOCKS - 1, 0.5 + CONFIDENCE / 2) * rates.std(ddof=1) / np.sqrt(BLOCKS)),
    )
    return mean, max(0.0, mean - half), mean + half


def loads(busy: pd.DataFrame, users_by_round: Mapping[tuple[str, int], int]) -> pd.DataFrame:
    """scenario, round, users: how many users a round had; missing where nothing tells.

    By run.json where it says so per round; else the most requests in flight, where that level was held for most of the round.
    """
    rows = []
    for row in rows_of(busy):
        users = users_by_round.get((row["scenario"], row["round"]))
        if users is None:
            held = row["at_max_share"] is not None and row["at_max_share"] >= PLATEAU
            users = int(row["in_flight_max"]) if held else None
        rows.append((row["scenario"], row["round"], users))
    return pd.DataFrame(rows, columns=["scenario", "round", "users"]).astype({"users": "Int64"})
