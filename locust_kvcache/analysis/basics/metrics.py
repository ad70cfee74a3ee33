"""Declares every metric once: name, unit, definition, better direction, and where it is shown.

To add one: an entry here, and its column in the records (contract/record.py), in `stats/summary.add_estimates` or in
`stats/summary.round_table`. The order here is the order of rows everywhere; docs/metrics.md has its definition in full. Other packages add
metrics of a request by an entry point (docs/extending.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.contract.extensions import METRICS as EXTENSION_METRICS
from locust_kvcache.contract.extensions import RequestMetric, extensions

LOWER, HIGHER = "lower", "higher"
REQUEST, ROUND = "request", "round"


@dataclass(frozen=True)
class Metric:
    """`key` is the column in records or rounds, and the value of `metric` in stats.json."""

    key: str
    name: str
    unit: str
    definition: str
    better: str = LOWER
    of: str = REQUEST  # a value per request, with a distribution; or a rate per round
    compared: bool = False  # cold against hit, and runs against one another: stats/comparison.py
    answered: bool = False  # in the answer's table, and in the chart of changes
    side_by_side: tuple[str, ...] = ()  # statistics in the table of all runs of a comparison
    repeated: bool = False  # one value per run in analysis.repeats
    swept: str = ""  # its short name in the table by concurrency
    sampled: bool = False  # in the sample of requests inside stats.json
    by_output: bool = False  # depends on the answer's length: not comparable where that differs

    @property
    def label(self) -> str:
        return f"{self.name}, {self.unit}"


OWN = (
    Metric(
        "ttft_ms", "TTFT", "ms", "first byte of the request to the first chunk with generated output", compared=True, answered=True,
        side_by_side=("mean", "median", "p90", "p99"), repeated=True, swept="TTFT, ms", sampled=True,
    ),
    Metric("ttfvt_ms", "TTFT visible", "ms", "the same to the first visible token"),
    Metric(
        "prefill_estimate_ms", "Prefill (estimate: TTFT - TPOT)", "ms", "TTFT less one decode step", compared=True, answered=True,
        side_by_side=("mean",), sampled=True,
    ),
    Metric(
        "e2e_ms", "E2E latency", "ms", "to the last chunk with generated output", compared=True, answered=True,
        side_by_side=("mean", "median", "p90"), repeated=True, sampled=True, by_output=True,
    ),
    Metric(
        "tpot_ms", "TPOT", "ms", "(E2E - TTFT) / output tokens after the first chunk's", compared=True, answered=True,
        side_by_side=("mean", "median"), repeated=True, swept="TPOT, ms", sampled=True, by_output=True,
    ),
    Metric(
        "itl_p50_ms", "ITL (each request's median)", "ms", "gaps between chunks over the tokens of the later one", compared=True,
        side_by_side=("median",), sampled=True,
    ),
    Metric("itl_p99_ms", "ITL (each request's P99)", "ms", "the same, each request's P99"),
    Metric("icl_p50_ms", "Inter-chunk latency (each request's median)", "ms", "gaps between chunks", sampled=True),
    Metric("schedule_lag_ms", "Schedule lag", "ms", "actual send less intended send (open loop)"),
    Metric("ttft_from_intended_ms", "TTFT from the intended time", "ms", "TTFT + schedule lag"),
    Metric("e2e_from_intended_ms", "E2E latency from the intended time", "ms", "E2E latency + schedule lag"),
    Metric(
        "requests_per_s", "Request throughput", "requests/s", "successful requests / wall time of the round", HIGHER, ROUND,
        compared=True, answered=True, side_by_side=("rate",), repeated=True, swept="requests/s", by_output=True,
    ),
    Metric(
        "total_tokens_per_s", "Total throughput", "tokens/s", "their prompt and output tokens / wall time", HIGHER, ROUND,
        compared=True, side_by_side=("rate",), by_output=True,
    ),
    Metric(
        "output_tokens_per_s", "Output throughput", "output tokens/s", "their output tokens / wall time", HIGHER, ROUND,
        compared=True, answered=True, side_by_side=("rate",), by_output=True,
    ),
    Metric(
        "busy_requests_per_s", "Request throughput while all users were busy", "requests/s", "without ramp, tail and stragglers", HIGHER,
        ROUND, by_output=True,
    ),
)  # fmt: skip
ADDED: dict[str, RequestMetric] = {name: each.loaded for name, each in extensions(EXTENSION_METRICS).items()}  # by other packages
METRICS = OWN + tuple(
    Metric(key, added.name, added.unit, added.definition, compared=added.compared, side_by_side=added.side_by_side, sampled=True)
    for key, added in ADDED.items()
)
BY_KEY = {metric.key: metric for metric in METRICS}
OF_REQUESTS = tuple(metric for metric in METRICS if metric.of == REQUEST)
OF_ROUNDS = tuple(metric for metric in METRICS if metric.of == ROUND)
SWEPT = tuple(metric for metric in METRICS if metric.swept)
ANSWERED = tuple(metric.key for metric in METRICS if metric.answered)
SAMPLED = tuple(metric.key for metric in METRICS if metric.sampled)
BY_OUTPUT = tuple(metric.key for metric in METRICS if metric.by_output)


def metric_name(key: str) -> str:
    """Name with its unit."""
    return BY_KEY[key].label


def statistic_name(statistic: str) -> str:
    """mean, median, P90; the pairs' own ratios in words."""
    if statistic == "pair_ratio":
        return "median of the pairs' ratios"
    return f"P{statistic[1:]}" if statistic[0] == "p" else statistic
