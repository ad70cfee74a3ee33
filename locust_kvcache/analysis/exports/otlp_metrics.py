"""Makes OpenTelemetry metrics of each round: the histograms of the GenAI semantic conventions, and what the cache did.

A series is one round, and has one point: it begins with the round's first send and ends with its last answer.
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen
from locust_kvcache.analysis.exports.otlp_json import attributes, nanoseconds
from locust_kvcache.analysis.exports.otlp_spans import shared_attributes
from locust_kvcache.analysis.exports.values import rounds
from locust_kvcache.analysis.pipeline import Analysis

CUMULATIVE = 2  # AggregationTemporality
SECONDS = tuple(0.01 * 2**power for power in range(14))  # the boundaries that the conventions advise
TOKENS = tuple(4**power for power in range(14))
CHUNK_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


@dataclass(frozen=True)
class Histogram:
    """A metric over the successful requests of a round."""

    name: str
    unit: str
    about: str
    field: str
    bounds: tuple[float, ...]
    per_unit: float = 1.0  # of the field's values that make one of the unit
    own: tuple[tuple[str, str], ...] = ()  # attributes


HISTOGRAMS = (
    Histogram("gen_ai.client.operation.duration", "s", "GenAI operation duration", "e2e_ms", SECONDS, 1000),
    Histogram("gen_ai.client.operation.time_to_first_chunk", "s", "Time to the first generated output", "ttft_ms", SECONDS, 1000),
    Histogram("kvcache.time_per_output_token", "s", "Mean time per output token after the first chunk", "tpot_ms", CHUNK_SECONDS, 1000),
    Histogram("gen_ai.client.token.usage", "{token}", "Input and output tokens used", "prompt_tokens", TOKENS, 1,
              (("gen_ai.token.type", "input"),)),
    Histogram("gen_ai.client.token.usage", "{token}", "Input and output tokens used", "output_tokens", TOKENS, 1,
              (("gen_ai.token.type", "output"),)),
)  # fmt: skip
COLUMNS = ("started_at_s", "ok", *dict.fromkeys(histogram.field for histogram in HISTOGRAMS))
GAUGES = {  # figure of a round: (unit, meaning)
    "hit_rate": ("1", "Cached prompt tokens over prompt tokens"),
    "planned_hit_rate": ("1", "Share of the prompt tokens that an unlimited prefix cache would serve"),
    "requests": ("{request}", "Requests with a record"),
    "failed": ("{request}", "Requests that failed"),
    "wall_s": ("s", "First send to last end"),
    "requests_per_s": ("{request}/s", "Successful requests over the whole round"),
    "output_tokens_per_s": ("{token}/s", "Output tokens over the whole round"),
}


def metrics(analysis: Analysis) -> list[dict[str, Any]]:
    """Every metric with a point for each round."""
    found: dict[str, dict[str, Any]] = {}
    for name, unit, about, kind, point in _points(analysis):
        of = {"aggregationTemporality": CUMULATIVE} if kind == "histogram" else {}
        metric = found.setdefault(name, {"name": name, "unit": unit, "description": about, kind: {**of, "dataPoints": []}})
        metric[kind]["dataPoints"].append(point)
    return list(found.values())


def _points(analysis: Analysis) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    run = analysis.stats["run"]
    for figures in rounds(analysis):
        own = (analysis.requests["scenario"] == figures.scenario) & (analysis.requests["round"] == figures.round)
        requests = chosen(analysis.requests, own & analysis.requests["started_at_s"].notna(), COLUMNS)
        if requests.empty:
            continue
        begun = float(requests["started_at_s"].min())
        ended = float((requests["started_at_s"] + requests["e2e_ms"].fillna(0) / 1000).max())
        times = {"startTimeUnixNano": nanoseconds(begun), "timeUnixNano": nanoseconds(ended)}
        of = {"kvcache.scenario": figures.scenario, "kvcache.round": figures.round, "kvcache.round_kind": figures.kind or None}
        shared = {**shared_attributes(run, figures.scenario), **of}
        for histogram in HISTOGRAMS:
            values = requests.loc[requests["ok"], histogram.field].dropna() / histogram.per_unit
            if len(values):
                point = {
                    "attributes": attributes({**shared, **dict(histogram.own)}),
                    **times,
                    **buckets(values, histogram.bounds),
                }
                yield histogram.name, histogram.unit, histogram.about, "histogram", point
        yield from _gauges(figures.figures, shared, times)


def _gauges(
    figures: Mapping[str, float], shared: Mapping[str, Any], times: Mapping[str, str]
) -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    for name, (unit, about) in GAUGES.items():
        if name in figures:
            yield f"kvcache.{name}", unit, about, "gauge", {"attributes": attributes(shared), **times, "asDouble": figures[name]}


def buckets(values: pd.Series[float], bounds: tuple[float, ...]) -> dict[str, Any]:
    """A value at a bound belongs to the bucket below it, as OpenTelemetry has it."""
    counts = np.bincount(np.searchsorted(bounds, values.to_numpy(dtype=float), side="left"), minlength=len(bounds) + 1)
    return {
        "count": str(len(values)),
        "sum": float(values.sum()),
        "min": float(values.min()),
        "max": float(values.max()),
        "bucketCounts": [str(count) for count in counts],
        "explicitBounds": list(bounds),
    }
