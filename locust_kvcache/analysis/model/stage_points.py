"""Computes the measured points for a prediction of splits: the cost of prefill and decode at each concurrency.

While n requests are in a phase at once, each second of that phase is shared by n of them. A request's share, the integral of dt / n over
its own phase, adds up over all requests to the time in which the phase was busy at all: its mean is 1 / throughput.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from locust_kvcache.analysis.stats.intervals import Floats

SAME_LENGTH = 0.15  # computed tokens of two points that differ by less are of one length
FEW_TOKENS = 64.0  # a difference in computed tokens that counts as none
ALONE = 1.2  # requests at once, up to which a request is alone


@dataclass(frozen=True)
class Point:
    """One round of one run. Arrays have one value per request; seconds."""

    run: str
    scenario: str
    round: int
    prompt_tokens: float  # means
    computed_tokens: float
    output_tokens: float
    in_flight: float  # requests at once, mean
    ttft_s: Floats
    prefill_share_s: Floats
    decoding: Floats  # requests that decoded at once with each, itself included
    tpot_s: Floats
    e2e_s: Floats
    requests_per_s: float
    counted_prefill_s: float | None = None  # by the prefiller's own counters

    @property
    def name(self) -> str:
        return f"{self.run}, round {self.round}"

    @property
    def alone(self) -> bool:
        return self.in_flight <= ALONE


def phase(begins: Floats, ends: Floats) -> tuple[Floats, Floats]:
    """Of each interval: the integral of dt / n, and the mean of n, with n the intervals that are open at a time."""
    times = np.unique(np.concatenate([begins, ends]))
    opened = np.searchsorted(np.sort(begins), times[:-1], side="right")
    closed = np.searchsorted(np.sort(ends), times[:-1], side="right")
    open_now, widths = (opened - closed).astype(float), np.diff(times)
    share = np.concatenate([[0.0], np.cumsum(np.divide(widths, open_now, out=np.zeros_like(widths), where=open_now > 0))])
    area = np.concatenate([[0.0], np.cumsum(widths * open_now)])
    first, last = np.searchsorted(times, begins), np.searchsorted(times, ends)
    length = ends - begins
    mean = np.divide(area[last] - area[first], length, out=np.ones_like(length), where=length > 0)
    return share[last] - share[first], mean


@dataclass(frozen=True)
class Counted:
    """What a prefiller's own counters say of a round, per request; None where it has none."""

    prefill_s: float | None = None
    computed_tokens: float | None = None


def points_of(
    run: str, records: pd.DataFrame, counted: Mapping[tuple[str, int], Counted] | None = None, is_pd: bool = False
) -> list[Point]:
    """A point per scenario and round with successful requests whose tokens are known.

    Of a PD pair the decoder reports as cached what was handed over to it: there the prefiller's counters tell what was computed. A first
    round without them, or without reported cached tokens, counts as computed in full.
    """
    usable = records["ok"] & records[["started_at_s", "ttft_ms", "e2e_ms", "prompt_tokens", "output_tokens"]].notna().all(axis=1)
    found = []
    for key, rows in records[usable].groupby(["scenario", "round"], observed=True, sort=False):
        scenario, number = str(key[0]), int(key[1])  # type: ignore[call-overload]
        told = (counted or {}).get((scenario, number), Counted())
        cached = pd.Series(np.nan, index=rows.index) if is_pd else rows["reported_cached_tokens"]
        cached = cached.fillna(0.0) if number == 1 else cached
        computed = told.computed_tokens if told.computed_tokens is not None else float((rows["prompt_tokens"] - cached).mean())
        if np.isfinite(computed):
            found.append(_point(run, scenario, number, rows, computed, told.prefill_s))
    return found


def _point(run: str, scenario: str, number: int, rows: pd.DataFrame, computed: float, counted_s: float | None) -> Point:
    began = rows["started_at_s"].to_numpy(dtype=np.float64)
    began = began - began.min()  # seconds since 1970 have no digits left for differences of microseconds
    ttft_s, e2e_s = (rows[name].to_numpy(dtype=np.float64) / 1000 for name in ("ttft_ms", "e2e_ms"))
    outputs = rows["output_tokens"].to_numpy(dtype=np.float64)
    share_s, _ = phase(began, began + ttft_s)
    _, in_flight = phase(began, began + e2e_s)
    decodes = (outputs > 1) & (e2e_s > ttft_s)
    _, decoding = phase((began + ttft_s)[decodes], (began + e2e_s)[decodes]) if decodes.any() else (e2e_s[:0], e2e_s[:0])
    return Point(
        run=run,
        scenario=scenario,
        round=number,
        prompt_tokens=float(rows["prompt_tokens"].mean()),
        computed_tokens=computed,
        output_tokens=float(outputs.mean()),
        in_flight=float(np.average(in_flight, weights=e2e_s)),
        ttft_s=ttft_s,
        prefill_share_s=share_s,
        decoding=decoding,
        tpot_s=(e2e_s - ttft_s)[decodes] / (outputs[decodes] - 1),
        e2e_s=e2e_s,
        requests_per_s=len(rows) / float((began + e2e_s).max()),
        counted_prefill_s=counted_s,
    )


def by_length(points: Sequence[Point]) -> list[list[Point]]:
    """Points whose requests compute about as many tokens, the shortest first; in each group the quietest first."""
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda point: point.computed_tokens):
        first = groups[-1][0].computed_tokens if groups else None
        near = first is not None and point.computed_tokens - first <= max(FEW_TOKENS, SAME_LENGTH * first)
        groups[-1].append(point) if near else groups.append([point])
    return [sorted(group, key=lambda point: point.in_flight) for group in groups]
