"""Cuts a run into windows of time around an event: hit rate, TTFT, requests/s and failures in each.

Window k begins k widths after the event, so the event is on a border between two windows and no window holds both sides of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import release
from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.stats.intervals import Spread, half_width
from locust_kvcache.contract.round_kinds import COLD, HIT

WINDOW_REQUESTS = 20  # that a window has at least, where its width is not given
WINDOWS_BEFORE = 3  # fewer say little of the level before
WIDTHS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
MOST_WINDOWS = 20_000


@dataclass(frozen=True)
class Window:
    """Requests sent in it: hit rate, TTFT, failures. `requests_per_s`: answers that ended in it. Times: s since the event."""

    start_s: float
    end_s: float
    sent: int
    failed: int
    empty_200: int
    hit_rate: float | None
    ttft_ms: float | None
    requests_per_s: float


def ends_s(records: pd.DataFrame) -> pd.Series:
    """When each answer was complete, epoch seconds; NaN where that is not known."""
    return records["started_at_s"] + records["e2e_ms"] / 1000


def states(records: pd.DataFrame) -> pd.Series:
    """What each request belongs to, as a number per scenario and kind of round: a level before an event is one of requests of the same
    state. A round that does not say its kind is cold if it is the first, else a hit round."""
    kinds = pd.Categorical(records["round_kind"])
    kinds = kinds.add_categories([kind for kind in (COLD, HIT) if kind not in kinds.categories])
    names = list(kinds.categories)
    by_number = np.where(records["round"].eq(1), names.index(COLD), names.index(HIT))
    codes = np.where(kinds.codes < 0, by_number, kinds.codes) + len(names) * pd.factorize(records["scenario"])[0]
    return pd.Series(codes, index=records.index, copy=False)


def cut(records: pd.DataFrame, at_s: float, begin_s: float, stop_s: float, width_s: float) -> list[Window]:
    """The whole windows between `begin_s` and `stop_s` (epoch seconds), in order."""
    first, last = math.ceil((begin_s - at_s) / width_s - 1e-9), math.floor((stop_s - at_s) / width_s + 1e-9)
    place, ok = (records["started_at_s"] - at_s) // width_s, records["ok"]
    told = ok & records["reported_cached_tokens"].notna() & records["prompt_tokens"].gt(0)
    sent, bad = place.value_counts(), place[~ok].value_counts()
    empty = place[records["status"].eq("no_output") & records["http_status"].eq(200)].value_counts()
    tokens = [records[name][told].groupby(place[told]).sum() for name in ("reported_cached_tokens", "prompt_tokens")]
    rates = tokens[0] / tokens[1]
    ttft = records["ttft_ms"][ok].groupby(place[ok]).mean().dropna()
    release()
    answered = ((ends_s(chosen(records, ok, ["started_at_s", "e2e_ms"])) - at_s) // width_s).value_counts()
    return [
        Window(
            k * width_s, (k + 1) * width_s, int(sent.get(k, 0)), int(bad.get(k, 0)), int(empty.get(k, 0)),
            float(rates[k]) if k in rates.index else None, float(ttft[k]) if k in ttft.index else None,
            float(answered.get(k, 0)) / width_s,
        )
        for k in range(first, last)
    ]  # fmt: skip


def choose_width_s(records: pd.DataFrame, begin_s: float, at_s: float) -> float:
    """The smallest of WIDTHS_S with 20 requests in each of at least three windows before the event; else by the mean rate."""
    before = records["started_at_s"][records["started_at_s"].between(begin_s, at_s, inclusive="left")]
    for width_s in WIDTHS_S:
        whole = math.floor((at_s - begin_s) / width_s + 1e-9)
        if whole < WINDOWS_BEFORE:
            break
        counts = ((before - at_s) // width_s).value_counts()
        if all(counts.get(-k, 0) >= WINDOW_REQUESTS for k in range(1, whole + 1)):
            return float(width_s)
    span_s = at_s - begin_s
    wanted = WINDOW_REQUESTS * span_s / len(before) if len(before) and span_s > 0 else 0.0
    return float(next((width_s for width_s in WIDTHS_S if width_s >= wanted), WIDTHS_S[-1]))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Mean, low and high (Student's 95 %) over runs; None for fewer than two."""
    count = len(values)
    if count < 2:
        return None
    mean = math.fsum(values) / count
    se = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    reach = half_width(Spread(se, count - 1))
    return mean, mean - reach, mean + reach
