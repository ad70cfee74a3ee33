"""Estimates a capacity with its interval from all steps of a search.

The model is a line through the logit of the late share over the log of the level, fitted by quasi-likelihood. Its value is unbiased where
requests queue; the middle of a bracket is not. The interval is that of Student's score test. Its variance is computed under the tested
level, since late requests come in bursts and a step without one does not show that there are none. The spread between steps is estimated
from the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize, stats

from locust_kvcache.analysis.stats.intervals import CONFIDENCE, Floats

SLOPES = (3.0, 200.0)  # of the logit over the log level; measured queues lie between 5 and 60
SLOPE_FACTOR = 2.0  # a tested level's line may be as many times flatter or steeper than the fitted one
MOST_OFF = math.log(2)  # an end further from the value than a factor of 2 is none
LEAST_STEPS = 2.0  # steps near the value that an interval needs, as effective number
UNBOUNDED = "too few steps near it, or too few requests in them"


def capacity_interval(
    levels: Sequence[float], late: Sequence[float], allowed: float
) -> tuple[float | None, float | None, float | None, str]:
    """(value, low, high, why there is no interval)."""
    x, y = np.log(np.asarray(levels, dtype="float64")), np.asarray(late, dtype="float64")
    if not (y > allowed).any() or not (y <= allowed).any():
        return None, None, None, "no step bounds it from the other side"
    slope, value = _fit(x, y, allowed)
    expected = _expected(x, value, slope, allowed)
    weight = expected * (1 - expected)
    count = float(weight.sum() ** 2 / (weight**2).sum())
    if count < LEAST_STEPS:
        return math.exp(value), None, None, UNBOUNDED
    spread = float(((y - expected) ** 2).sum() / weight.sum()) * count / (count - 1)
    allowed_t = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1))
    ends = [_end(lambda at: abs(_score(x, y, at, slope, spread, allowed)) <= allowed_t, value, side) for side in (-1, 1)]
    if ends[0] is None or ends[1] is None:
        return math.exp(value), None, None, UNBOUNDED
    return math.exp(value), math.exp(ends[0]), math.exp(ends[1]), ""


def _expected(x: Floats, value: float, slope: float, allowed: float) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(math.log(allowed / (1 - allowed)) + slope * (x - value), -35, 35)))
    return found


def _fit(x: Floats, y: Floats, allowed: float) -> tuple[float, float]:
    """(slope, log level at which `allowed` is late) that maximise the quasi-likelihood."""
    centre = float(x.mean())

    def loss(parameters: Floats) -> tuple[float, Floats]:
        line = parameters[0] + parameters[1] * (x - centre)
        off = 1 / (1 + np.exp(-np.clip(line, -35, 35))) - y
        return float((np.logaddexp(0, line) - y * line).sum()), np.array([off.sum(), (off * (x - centre)).sum()])

    found = optimize.minimize(loss, np.array([0.0, 10.0]), jac=True, method="L-BFGS-B", bounds=[(None, None), SLOPES])
    intercept, slope = (float(value) for value in found.x)
    return slope, centre + (math.log(allowed / (1 - allowed)) - intercept) / slope


def _score(x: Floats, y: Floats, at: float, slope: float, spread: float, allowed: float) -> float:
    """How far the shares are from those of a capacity of exp(at), in standard errors; the slope is fitted to that capacity."""
    off, bounds = x - at, (max(SLOPES[0], slope / SLOPE_FACTOR), min(SLOPES[1], slope * SLOPE_FACTOR))

    def moment(log_slope: float) -> float:
        return float((off * (y - _expected(x, at, math.exp(log_slope), allowed))).sum())

    low, high = (math.log(bound) for bound in bounds)
    inside = moment(low) > 0 > moment(high)
    own = optimize.brentq(moment, low, high, xtol=1e-4) if inside else low if moment(low) <= 0 else high
    expected = _expected(x, at, math.exp(own), allowed)
    weight = expected * (1 - expected)
    direction = 1 - (weight * off).sum() / (weight * off**2).sum() * off if inside else np.ones_like(x)
    return float((direction * (y - expected)).sum() / math.sqrt(max(spread * (weight * direction**2).sum(), 1e-300)))


def _end(accepted: Callable[[float], bool], value: float, side: int, step: float = 0.01) -> float | None:
    """The first level from the value outwards that is rejected, to a thousandth; None where none is within a factor of 2."""
    at = 0.0
    while accepted(value + side * (at + step)):
        at += step
        if at > MOST_OFF:
            return None
    inner, outer = at, at + step
    while outer - inner > 0.001:
        middle = (inner + outer) / 2
        inner, outer = (middle, outer) if accepted(value + side * middle) else (inner, middle)
    return value + side * outer
