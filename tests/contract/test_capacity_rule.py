"""The judge by hand, and the search on queues whose capacity is known."""

from __future__ import annotations

import math
import random

import pytest

from locust_kvcache.contract.capacity_rule import (
    Capacity,
    Measured,
    Sample,
    Search,
    bracket,
    capacity_of,
    drift_of,
    judge,
    next_level,
    percentile_of,
)

SLO = {"ttft_ms": 1000.0}


def sample(due_s: float, ttft_ms: float | None, lag_ms: float = 0.0, ok: bool = True, tpot_ms: float | None = 10.0) -> Sample:
    return Sample(due_s, ok, lag_ms, {"ttft_ms": ttft_ms, "tpot_ms": tpot_ms, "e2e_ms": ttft_ms})


def even(count: int, ttft_ms: float) -> list[Sample]:
    return [sample(i, ttft_ms) for i in range(count)]


def queue(rate_per_s: float, service_s: float, count: int, seed: int | None = None) -> list[Sample]:
    """One server, first come first served: even arrivals, or Poisson ones that come at exactly the rate."""
    rng = random.Random(seed)
    gaps = [1 / rate_per_s] * (count - 1) if seed is None else [rng.expovariate(rate_per_s) for _ in range(count - 1)]
    stretch = (count - 1) / rate_per_s / sum(gaps)
    samples, at_s, free_s = [], 0.0, 0.0
    for gap in [0.0, *gaps]:
        at_s += gap * stretch
        free_s = max(free_s, at_s) + service_s
        samples.append(sample(at_s, (free_s - at_s) * 1000))
    return samples


def test_ninety_of_a_hundred_within_the_limit_are_enough_and_eighty_nine_are_not() -> None:
    """Linear interpolation at position 89.1 of 0..99: with 91 good ones it lies between two good ones."""
    assert judge([*even(91, 500), *even(9, 5000)], SLO).sustained
    bad = judge([*even(89, 500), *even(11, 5000)], SLO)
    assert not bad.sustained
    assert bad.why.startswith("TTFT p90 5,000 ms, limit 1,000")


def test_a_failed_request_took_for_ever() -> None:
    failed = [sample(i, None, ok=False) for i in range(12)]
    assert not judge([*even(88, 500), *failed], SLO).sustained
    assert percentile_of([*even(88, 500), *failed], "ttft_ms", 0.9) is None
    assert judge([*even(95, 500), *failed[:5]], SLO).sustained


def test_an_answer_of_one_token_is_not_held_to_the_tpot() -> None:
    assert judge([sample(i, 5.0, tpot_ms=None) for i in range(50)], {"tpot_ms": 20.0}).sustained


def test_times_count_from_the_intended_start() -> None:
    late = judge([sample(i, 600, lag_ms=600) for i in range(100)], SLO)
    assert not late.sustained
    assert late.short_of_users
    assert not judge(even(100, 1200), SLO).short_of_users


def test_a_growing_queue_is_seen_although_every_limit_is_met() -> None:
    """4 % beyond its rate a server falls behind by 0.04 s per second of service: 1 - 1 / 1.04 = 0.0385 of the arrivals' time x 1.04."""
    behind = queue(10.4, 0.1, 200)
    assert drift_of(behind) == pytest.approx(0.04, rel=0.01)
    found = judge(behind, {"ttft_ms": 60_000.0})
    assert not found.sustained
    assert "not steady" in found.why
    assert judge(queue(9.9, 0.1, 200), {"ttft_ms": 60_000.0}).sustained
    assert drift_of(even(20, 500)) is None


def search(true_per_s: float, start: float, noise: float = 0.0, **settings: float) -> list[Measured]:
    """A server that sustains every rate up to its capacity, which `noise` moves a little each time."""
    rng, steps = random.Random(1), []
    while (rate := next_level(steps, Search(start, **settings))) is not None:  # type: ignore[arg-type]
        steps.append(Measured(rate, rate <= true_per_s * rng.gauss(1, noise)))
    return steps


@pytest.mark.parametrize("start", [0.1, 3.9, 4.0, 40.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_search_ends_at_the_capacity_wherever_it_starts(start: float, noise: float) -> None:
    steps = search(4.1, start, noise)
    found = capacity_of(steps)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert found.value == pytest.approx(4.1, rel=0.05)
    assert found.low <= 4.1 * (1 + 3 * noise)
    assert found.high >= 4.1 * (1 - 3 * noise)
    low, high = bracket(steps)
    assert low is not None
    assert high is not None
    assert high / low <= 1.05
    assert len(steps) <= 24
    for end, sustained in ((found.low, True), (found.high, False)):
        assert [step.sustained for step in steps if step.level == end] == [sustained] * 3


@pytest.mark.parametrize(("true_users", "start"), [(1, 8), (2, 1), (7, 100), (37, 10), (1000, 1)])
def test_users_are_whole_and_at_least_one(true_users: int, start: int) -> None:
    steps: list[Measured] = []
    while (users := next_level(steps, Search(start, whole=True))) is not None:
        assert users == int(users) >= 1
        steps.append(Measured(users, users <= true_users))
    found = capacity_of(steps)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= true_users < found.high
    assert found.high - found.low <= max(1, 0.06 * true_users)
    assert len(steps) <= 24


def test_not_even_one_user_is_sustained() -> None:
    steps: list[Measured] = []
    while (users := next_level(steps, Search(5, whole=True))) is not None:
        steps.append(Measured(users, False))
    assert capacity_of(steps).high == 1
    assert capacity_of(steps).low is None
    assert [step.level for step in steps].count(1) == 3


def test_ends_that_contradict_themselves_widen_the_interval() -> None:
    steps = [Measured(4.0, True), Measured(4.2, False), Measured(4.0, False), Measured(3.9, True), Measured(4.2, False)]
    assert bracket(steps) == (3.9, 4.0)
    assert capacity_of(steps).low == 3.9
    assert capacity_of(steps).high == 4.2  # one of two at 4.0 was sustained, so 4.0 is not beyond capacity


def test_a_search_without_an_end_says_so() -> None:
    steps = search(1e9, 1.0, most_steps=5)
    assert len(steps) == 5
    assert capacity_of(steps).value is None
    assert capacity_of(steps).low == max(step.level for step in steps)
    assert capacity_of(steps).high is None
    assert capacity_of([Measured(2.0, False)]).low is None


def search_queue(service_s: float, requests: int, seed: int | None) -> Capacity:
    steps: list[Measured] = []
    while (rate := next_level(steps, Search(4.0))) is not None:
        draw = None if seed is None else 100 * seed + len(steps)
        steps.append(Measured(rate, judge(queue(rate, service_s, requests, draw), {"ttft_ms": 2000.0}).sustained))
    return capacity_of(steps)


def test_even_arrivals_are_sustained_up_to_the_service_rate() -> None:
    """A service of 0.25 s is 4 per second; the drift that is allowed is 1 %."""
    found = search_queue(0.25, 400, None)
    assert found.value == pytest.approx(4.0, rel=0.05)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 4.0 * 1.01
    assert found.high >= 4.0


def test_bursty_arrivals_are_sustained_up_to_what_queueing_theory_says() -> None:
    """M/D/1, p90 of wait and service under 2 s at 0.25 s each: P(wait > 7 services) = 0.1 at a load of 0.853, 3.41 per second."""
    found = [search_queue(0.25, 400, seed) for seed in range(20)]
    values = [one.value for one in found if one.value is not None]
    assert len(values) == 20
    assert sum(values) / 20 == pytest.approx(3.41, rel=0.03)
    covered = sum((one.low or 0.0) <= 3.41 <= (one.high or math.inf) for one in found)
    assert covered >= 16
