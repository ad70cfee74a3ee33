"""Makes the tables of an advice: each size of each tier, the marked sizes, and other deployments."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.advice.check import Check
from locust_kvcache.analysis.advice.deployments import Option
from locust_kvcache.analysis.advice.marks import Marks
from locust_kvcache.analysis.advice.prediction import Point
from locust_kvcache.analysis.basics.number_text import DASH, number, percent, whole
from locust_kvcache.analysis.tables.table import Table

TIER_WORDS = {"gpu": "GPU", "cpu": "host memory", "disk": "SSD", "store": "store"}
RULE = (
    "token-weighted hit rate of LRU caches; TTFT with queue; cost per million prompt tokens: GPU seconds of prefill at their price, and "
    "the rent of the tier during the load"
)


def gb(size: float | None) -> str:
    return DASH if size is None else f"{number(size)} GB"


def gb_of(point: Point | None) -> str:
    return gb(None if point is None else point.size_gb)


def p50_text(point: Point | Option) -> str:
    """114, or ≥ 114 where it is a lower bound."""
    return f"≥ {number(point.ttft_p50_ms)}" if point.at_least else number(point.ttft_p50_ms)


def times_of(point: Point | None) -> tuple[str, str]:
    """P50 and P90."""
    return (DASH, DASH) if point is None else (p50_text(point), number(point.ttft_p90_ms))


def size_table(points: Sequence[Point]) -> Table:
    header = (
        "tier",
        "size",
        "tokens",
        "hit rate",
        "TTFT P50, ms",
        "TTFT P90, ms",
        "GPU seconds of prefill",
        "cost, GPU",
        "cost, tier",
        "cost",
    )
    rows = []
    for one in points:
        size = (TIER_WORDS[one.tier], gb(one.size_gb), whole(one.size_tokens))
        costs = tuple(map(number, (one.prefill_gpu_s, one.cost_gpu, one.cost_tier, one.cost)))
        rows.append((*size, percent(one.hit_rate), *times_of(one), *costs))
    return Table("Every size that was tried", header, tuple(rows), RULE)


def mark_table(marks: Sequence[Marks]) -> Table:
    """The short answer."""
    rows = []
    for one in marks:
        best = one.cheapest or one.knee
        hits = percent(one.knee.hit_rate) if one.knee else DASH
        there = percent(best.hit_rate) if best else DASH
        rows.append((TIER_WORDS[one.tier], gb_of(one.knee), hits, pays_text(one), gb_of(one.cheapest), there, *times_of(best)))
    header = ("tier", "knee", "hit rate", "pays up to", "cheapest", "hit rate", "TTFT P50, ms", "TTFT P90, ms")
    rule = (
        "knee: the smallest size with nine tenths of the hit rate of a cache without limit; hit rate and TTFT on the right are at "
        "the cheapest size, else at the knee; no faster: TTFT there is no shorter than without the tier, so that "
        "GPU seconds alone are saved"
    )
    return Table("What each tier gives", header, tuple(rows), rule)


def pays_text(marks: Marks) -> str:
    if marks.pays is None:
        return DASH
    if not marks.pays:
        return "no size tried"
    size = f"over {gb(marks.break_even_gb)}" if marks.largest_pays else gb(marks.break_even_gb)
    return f"{size}, no faster" if marks.in_gpu_seconds_alone else size


def check_table(checks: Sequence[Check]) -> Table:
    rows = tuple((one.figure, one.value_text(one.predicted), one.value_text(one.measured), one.off_text) for one in checks)
    return Table(
        "Predicted and measured", ("", "predicted", "measured", "off"), rows, "measured: requests of the round that succeeded"
    )


def option_table(options: Sequence[Option]) -> Table:
    header = ("", "GPUs", "hit rate", "TTFT P50, ms", "TTFT P90, ms", "cost")
    rows = []
    for one in options:
        times = (p50_text(one), number(one.ttft_p90_ms), number(one.cost))
        rows.append((one.name, whole(one.gpus), percent(one.hit_rate), *times))
    rule = "GPU caches alone; cost: all GPUs during the load, per million prompt tokens"
    return Table("Replicas, and prefill and decode on separate servers", header, tuple(rows), rule)
