"""Holds the formulas of all intervals and tests: Student's t on a logarithm, quantiles, Holm. No state, no pandas.

Sources: jackknife: Efron & Tibshirani, "An Introduction to the Bootstrap", 11. Quantiles of clustered samples: Woodruff (1952). Order
statistics: Hahn & Meeker, "Statistical Intervals", 5.2. Which requests depend on one another stands in dependence.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # not scipy.stats, which takes half a second to import

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int32]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
SEED = 20251
MIN_CLUSTERS = 4  # independent clusters; fewer say too little of the spread: with 3 an interval covers 73 to 76 %
MIN_SAMPLES = {0.5: 1, 0.9: 20, 0.95: 40, 0.99: 100, 0.999: 1000}  # P90 and P95 have two values beyond them, P99 and P99.9 one


@dataclass(frozen=True)
class Spread:
    """Standard error of an estimate, and the degrees of freedom that are behind it."""

    se: float
    freedom: float


def half_width(spread: Spread, confidence: float = CONFIDENCE) -> float:
    """Student's: t(freedom) * se."""
    return _critical(spread.freedom, confidence) * spread.se


@functools.lru_cache(maxsize=1000)
def _critical(freedom: float, confidence: float) -> float:
    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def p_value(estimate: float, spread: Spread) -> float:
    """Two-sided, by the same t as `half_width`: below 0.05 exactly where the interval leaves 0 out."""
    if spread.se == 0:
        return 1.0 if estimate == 0 else 0.0
    return float(2 * special.stdtr(spread.freedom, -abs(estimate) / spread.se))


def smallest_effect(spread: Spread, tests: int = 1) -> float:
    """Smallest relative change that is found with 80 % power at the level that Holm asks of the first of `tests`: 1 - exp(-d * se)."""
    return float(-math.expm1(-_detectable(round(spread.freedom, 2), max(1, tests)) * spread.se))


@functools.lru_cache(maxsize=1000)
def _detectable(freedom: float, tests: int) -> float:
    """The noncentrality at which noncentral t exceeds the critical value of 0.05 / tests in 80 % of all samples (by bisection)."""
    critical = float(-special.stdtrit(freedom, ALPHA / tests / 2))
    low, high = 0.0, 3 * critical + 10.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if special.nctdtr(freedom, middle, critical) > 1 - POWER else (low, middle)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for several comparisons: the k-th smallest of m times (m - k + 1), made monotone."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = running
    return adjusted


def effective_count(codes: Ints) -> float:
    """Clusters of equal size that say as much: n^2 / sum of squared sizes. Ten clusters of which one holds nearly all are about one."""
    sizes = np.bincount(codes).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(codes) else 0.0


def quantile_of(name: str) -> float:
    """`median` -> 0.5, `p90` -> 0.9, `p999` -> 0.999."""
    return 0.5 if name == "median" else float(f"0.{name.removeprefix('p')}")


def is_carried(name: str, count: float) -> bool:
    """Whether `count` values (of effects: independent clusters) carry the statistic `name`."""
    return count >= (1 if name == "mean" else MIN_SAMPLES[quantile_of(name)])


def carried_quantile(ordered: Floats, q: float) -> float | None:
    """numpy's default quantile of values that are in order, or None where the sample has fewer values than MIN_SAMPLES asks for."""
    return quantile(ordered, q) if len(ordered) >= MIN_SAMPLES[q] else None


def quantile(ordered: Floats, q: float) -> float:
    """numpy's default quantile of values that are in order: linear between order statistics."""
    at = q * (len(ordered) - 1)
    low = min(int(at), max(0, len(ordered) - 2))
    return float(np.interp(at, np.arange(low, low + 2)[: len(ordered)], ordered[low : low + 2]))


def quantile_interval(values: Floats, q: float, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """For independent values, distribution-free: order statistics l, u with P(l <= Binomial(n, q) < u) >= confidence, tails shared
    equally. None where the sample is too small for both ends to exist.
    """
    n = len(values)
    tail = (1 - confidence) / 2
    low = _binomial_quantile(tail, n, q)  # P(B < low) <= tail
    high = _binomial_quantile(1 - tail, n, q) + 1  # P(B >= high) <= tail
    if n == 0 or low < 1 or high > n:
        return None
    ordered = np.sort(values)
    return float(ordered[low - 1]), float(ordered[high - 1])


def _binomial_quantile(p: float, n: int, q: float) -> int:
    """The smallest k with P(Binomial(n, q) <= k) >= p."""
    k = max(0, math.ceil(special.bdtrik(p, n, q))) if n else 0
    while k > 0 and special.bdtr(k - 1, n, q) >= p:  # the continuous inverse may be off by a rounding error
        k -= 1
    while special.bdtr(k, n, q) < p:
        k += 1
    return k


def cluster_weights(clusters: int, resamples: int, seed: int = SEED) -> Counts:
    """How often each cluster was drawn in each resample (with replacement): shape (resamples, clusters)."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, clusters, size=(resamples, clusters), dtype=np.int32)
    flat = drawn + np.arange(resamples)[:, None] * clusters
    return np.bincount(flat.ravel(), minlength=resamples * clusters).reshape(resamples, clusters).astype(np.int32)


def expanded_tail(clusters: int, confidence: float = CONFIDENCE) -> float:
    """Tail probability that makes a percentile interval of resamples as wide as Student's for few clusters (Hesterberg 2015, 4.3):
    Phi(sqrt(n / (n - 1)) * t(n - 1))."""
    t = special.stdtrit(clusters - 1, (1 - confidence) / 2)
    return float(special.ndtr(math.sqrt(clusters / (clusters - 1)) * t))


def share_interval(count: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's for a share of independent cases: it covers at least as often as it says."""
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high
