"""Change points: few false alarms where neighbours are alike, real steps found, and their place held by the interval."""

from __future__ import annotations

import numpy as np
import pytest

from locust_kvcache.analysis.stats.change_points import changes

RUNS = 150


def noise(rng: np.random.Generator, count: int, alike: float) -> np.ndarray:
    values = rng.normal(size=count)
    for place in range(1, count):
        values[place] = alike * values[place - 1] + np.sqrt(1 - alike**2) * values[place]
    return values


@pytest.mark.parametrize("count", [60, 120])
@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6])
def test_false_alarms(count: int, alike: float) -> None:
    rng = np.random.default_rng(count)
    alarms = sum(bool(changes(noise(rng, count, alike))) for _ in range(RUNS))
    assert alarms / RUNS <= 0.05


@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_a_step_is_found_and_its_interval_holds_it(alike: float) -> None:
    rng, found, held = np.random.default_rng(3), 0, 0
    for _ in range(100):
        values = noise(rng, 120, alike)
        values[50:] += 2.0
        first = next(iter(changes(values)), None)
        if first is not None:
            found += 1
            held += first.low <= 50 <= first.high
    assert found >= 98
    assert held / found >= 0.93


def test_a_fall_and_the_recovery_are_two_changes() -> None:
    rng = np.random.default_rng(5)
    values = 0.9 + 0.01 * rng.normal(size=100)
    values[40:60] -= 0.6
    first, second = changes(values)
    assert (first.place, second.place) == (40, 60)
    assert first.before == pytest.approx(0.9, abs=0.01)
    assert first.after == second.before == pytest.approx(0.3, abs=0.01)


def test_too_few_or_equal_values_have_none() -> None:
    assert changes([1.0] * 30 + [5.0] * 29) == []
    assert changes([1.0] * 60) == []
    (step,) = changes([1.0] * 30 + [2.0] * 30)
    assert (step.place, step.low, step.high) == (30, 29, 31)
