"""The capacity from shares of late requests: by hand, and on simulated queues whose truth is known."""

from __future__ import annotations

import math

import pytest

from benchmarks.capacity_coverage import QUEUES, SERVICE_S, search
from locust_kvcache.analysis.across_runs.capacity_steps import RATE, Step, found_capacity
from locust_kvcache.analysis.stats.capacity_interval import capacity_interval
from locust_kvcache.contract.capacity_rule import Judgement

LEVELS = [3.0, 3.0, 3.5, 3.5, 4.0, 4.0, 4.5, 4.5, 5.0, 5.0]


def shares(capacity: float, slope: float, scatter: float) -> list[float]:
    """A line through the logit, one step above and one below it by turns."""
    logits = (math.log(1 / 9) + slope * math.log(level / capacity) + scatter * (-1) ** i for i, level in enumerate(LEVELS))
    return [1 / (1 + math.exp(-logit)) for logit in logits]


def test_the_value_lies_where_the_allowed_share_is_late() -> None:
    value, low, high, why = capacity_interval(LEVELS, shares(4.0, 12.0, 0.2), 0.1)
    assert why == ""
    assert value == pytest.approx(4.0, rel=0.02)
    assert low is not None
    assert high is not None
    assert low < 4.0 < high < 1.1 * low


def test_more_scatter_between_steps_is_a_wider_interval() -> None:
    narrow, wide = (capacity_interval(LEVELS, shares(4.0, 12.0, scatter), 0.1) for scatter in (0.2, 0.8))
    assert narrow[1] is not None
    assert narrow[2] is not None
    assert wide[1] is not None
    assert wide[2] is not None
    assert wide[2] / wide[1] > narrow[2] / narrow[1]


def test_without_a_step_on_the_other_side_there_is_nothing() -> None:
    assert capacity_interval([1.0, 2.0], [0.0, 0.05], 0.1)[0] is None
    assert "no step bounds it" in capacity_interval([1.0, 2.0], [0.5, 0.6], 0.1)[3]


def step(level: float, late: float, requests: int, arrivals: str = "poisson") -> Step:
    found = Judgement(late <= 0.1, "", {"ttft_ms": 500.0 if late <= 0.1 else 3000.0}, 0.0, late, False)
    return Step("s", "d", None, "cold", arrivals, level, RATE, found, requests, None, 0.0, 60.0, None)


def test_steps_too_short_for_the_queue_that_the_limit_allows_have_no_interval() -> None:
    """K = 4 per s x (2 - 0.5 s) = 6: 36 arrivals; at 40 per second K = 60: 3,600."""
    slo, late = {"ttft_ms": 2000.0}, shares(4.0, 12.0, 0.2)
    assert found_capacity([step(level, y, 400) for level, y in zip(LEVELS, late, strict=True)], slo, 0.9).no_interval == ""
    fast = [step(10 * level, y, 400) for level, y in zip(LEVELS, late, strict=True)]
    found = found_capacity(fast, slo, 0.9)
    assert found.value == pytest.approx(40, rel=0.02)
    assert found.low is None
    assert "requests per step" in found.no_interval
    even = [step(10 * level, y, 400, "constant") for level, y in zip(LEVELS, late, strict=True)]
    assert found_capacity(even, slo, 0.9).low is not None


def test_steps_that_do_not_vary_give_the_bracket() -> None:
    levels, late = [3.8, 3.8, 3.8, 4.0, 4.0, 4.0], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    found = found_capacity(
        [step(level, y, 400, "constant") for level, y in zip(levels, late, strict=True)], {"ttft_ms": 2000.0}, 0.9
    )
    assert (found.low, found.high) == (3.8, 4.0)
    assert found.value is not None
    assert 3.8 <= found.value <= 4.0


@pytest.mark.slow
def test_searches_on_a_queue_hold_what_theory_says() -> None:
    """M/D/1, p90 of wait and service under 8 services: P(wait > 7) = 0.1 at a load of 0.851. Of 12 intervals at 95 % two miss at most."""
    truth = 0.851 / SERVICE_S
    found = [search(QUEUES[1], 400, truth * (0.5 + 0.05 * seed), seed) for seed in range(12)]
    values = [one.value for one in found if one.value is not None]
    assert sum(values) / 12 == pytest.approx(truth, rel=0.04)
    assert sum((one.low or 0.0) <= truth <= (one.high or 0.0) for one in found) >= 10
