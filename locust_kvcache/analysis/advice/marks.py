"""Finds the knee, the break-even and the cheapest size of a tier among the predicted sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from locust_kvcache.analysis.advice.prediction import GPU, Point

NEARLY_ALL = 0.9  # of the hit rate of a cache without limit
FASTER = 0.95  # of the mean TTFT without the tier: what is nearer is within the error of the prediction


@dataclass(frozen=True)
class Marks:
    """Sizes of one tier. `pays`: whether any size tried costs no more than none; None where costs are not known.

    `break_even_gb`: where the cost is that of none again, on a straight line between two sizes tried; `largest_pays`: beyond the largest.
    `faster`: whether the TTFT at the cheapest size is lower than without the tier; None where one of them is not known.
    """

    tier: str
    knee: Point | None
    break_even_gb: float | None
    cheapest: Point | None
    pays: bool | None
    largest_pays: bool = False
    faster: bool | None = None

    @property
    def in_gpu_seconds_alone(self) -> bool:
        """It pays, and no request gets its first token earlier: its money is GPU seconds that other load has to use."""
        return bool(self.pays) and self.faster is False


def knee_of(points: Sequence[Point], unlimited: float) -> Point | None:
    """The smallest size with nine tenths of what a cache without limit hits; None where no size tried has them, or nothing can hit."""
    if unlimited <= 0:
        return None
    return next((one for one in sorted(points, key=lambda p: p.size_gb) if one.hit_rate >= NEARLY_ALL * unlimited), None)


def own_point(points: Sequence[Point], own_gb: float | None) -> Point | None:
    """A server with its GPU cache alone."""
    return next((one for one in points if one.tier == GPU and one.size_gb == own_gb), None)


def cost_without(points: Sequence[Point], own_gb: float | None) -> float | None:
    own = own_point(points, own_gb)
    return None if own is None else own.cost


def is_faster(point: Point | None, own: Point | None) -> bool | None:
    """By the mean or by P50, which the page shows. A lower bound of what the server takes without the tier tells of none that is slower."""
    if point is None or own is None or point.ttft_mean_ms is None or own.ttft_mean_ms is None:
        return None
    pairs = ((point.ttft_mean_ms, own.ttft_mean_ms), (point.ttft_p50_ms, own.ttft_p50_ms))
    if any(mine is not None and other is not None and mine < FASTER * other for mine, other in pairs):
        return True
    return None if own.at_least else False


def marks_of(tier: str, points: Sequence[Point], unlimited: float, without: float | None, own: Point | None = None) -> Marks:
    """`without`: the cost without this tier; `own`: the server without it."""
    ordered = sorted(points, key=lambda one: one.size_gb)
    known = [(one, one.cost) for one in ordered if one.cost is not None]
    knee = knee_of(ordered, unlimited)
    if not known or without is None:
        return Marks(tier, knee, None, None, None)
    cheapest = min(known, key=lambda pair: pair[1])[0]
    faster = is_faster(cheapest, own)
    paying = [place for place, (_, cost) in enumerate(known) if cost <= without]
    if not paying:
        return Marks(tier, knee, None, cheapest, False, faster=faster)
    one, cost = known[paying[-1]]
    if paying[-1] == len(known) - 1:
        return Marks(tier, knee, one.size_gb, cheapest, True, largest_pays=True, faster=faster)
    dearer, more = known[paying[-1] + 1]
    even_gb = one.size_gb + (dearer.size_gb - one.size_gb) * (without - cost) / (more - cost)
    return Marks(tier, knee, even_gb, cheapest, True, faster=faster)
