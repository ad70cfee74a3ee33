"""Finds the working set at which a cache tier stops holding, from its hit rates.

The rate on the plateau is that of the smallest size; the knee lies between the last size that keeps it and the first that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Knee:
    """The tier holds `holds_tokens`; it no longer holds `fails_tokens` (None: every size tried was held)."""

    holds_tokens: float
    fails_tokens: float | None
    plateau_hit_rate: float


def find_knee(points: Sequence[tuple[float, float]], drop: float = 0.1) -> Knee | None:
    """`points` are (working set in tokens, hit rate 0..1), in any order; `drop` is the share of the plateau whose loss is a knee.

    None: nothing was hit at the smallest size, so there is no plateau to fall from and the sweep must start lower.
    """
    ordered = sorted(points)
    if not ordered or ordered[0][1] <= 0:
        return None
    plateau = ordered[0][1]
    held = ordered[0][0]
    for size, rate in ordered:
        if rate < plateau * (1 - drop):
            return Knee(held, size, plateau)
        held = size
    return Knee(held, None, plateau)
