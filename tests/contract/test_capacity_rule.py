"""The judge by hand, and the search on queues whose capacity is known."""

from __future__ import annotations

import math
import random

import pytest

from locust_kvcache.contract.capacity_rule import (
    Bounds,
    Measured,
    Sample,
    Search,
    bounds_of,
    bracket,
    counted,
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


def step(filling: int, good: int, late: int) -> list[Sample]:
    """Requests that fill the queue, then good and late ones mixed evenly, so that nothing grows."""
    order = sorted([(i / good, 500.0) for i in range(good)] + [((i + 0.5) / late, 5000.0) for i in range(late)])
    return [sample(i, ttft_ms) for i, ttft_ms in enumerate([1.0] * filling + [ttft_ms for _, ttft_ms in order])]


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
    """Linear interpolation at position 89.1 of 0..99: with 91 good ones it lies between two good ones. 25 before fill the queue."""
    assert judge(step(25, 91, 9), SLO).sustained
    bad = judge(step(25, 89, 11), SLO)
    assert not bad.sustained
    assert bad.why.startswith("TTFT p90 5,000 ms, limit 1,000")


def test_the_requests_that_fill_the_queue_do_not_count() -> None:
    """25 of 125 are the first fifth: with them 11 of 125 would be few enough."""
    found = judge(step(25, 89, 11), SLO)
    assert len(counted(step(25, 89, 11))) == 100
    assert found.late == pytest.approx(0.11)
    assert len(counted(even(39, 500))) == 39


def test_where_the_queue_grows_all_are_late() -> None:
    assert judge(queue(10.4, 0.1, 200), {"ttft_ms": 60_000.0}).late == 1.0


def test_a_failed_request_took_for_ever() -> None:
    """12 of 100 at the end are 12 of the 80 that count; of 5 the percentile is still a success's."""
    failed = [sample(88 + i, None, ok=False) for i in range(12)]
    assert not judge([*even(88, 500), *failed], SLO).sustained
    assert percentile_of([*even(88, 500), *failed], "ttft_ms", 0.9) is None
    assert judge([*even(95, 500), *failed[7:]], SLO).sustained


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
    found = bounds_of(steps)
    assert found.low is not None
    assert found.high is not None
    assert math.sqrt(found.low * found.high) == pytest.approx(4.1, rel=0.05)
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
    found = bounds_of(steps)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= true_users < found.high
    assert found.high - found.low <= max(1, 0.06 * true_users)
    assert len(steps) <= 24


def test_not_even_one_user_is_sustained() -> None:
    steps: list[Measured] = []
    while (users := next_level(steps, Search(5, whole=True))) is not None:
        steps.append(Measured(users, False))
    assert bounds_of(steps).high == 1
    assert bounds_of(steps).low is None
    assert [step.level for step in steps].count(1) == 3


def test_ends_that_contradict_themselves_widen_the_interval() -> None:
    steps = [Measured(4.0, True), Measured(4.2, False), Measured(4.0, False), Measured(3.9, True), Measured(4.2, False)]
    assert bracket(steps) == (3.9, 4.0)
    assert bounds_of(steps).low == 3.9
    assert bounds_of(steps).high == 4.2  # one of two at 4.0 was sustained, so 4.0 is not beyond capacity


def test_a_search_without_an_end_says_so() -> None:
    steps = search(1e9, 1.0, most_steps=5)
    assert len(steps) == 5
    assert bounds_of(steps).low == max(step.level for step in steps)
    assert bounds_of(steps).high is None
    assert bounds_of([Measured(2.0, False)]).low is None


def search_queue(service_s: float, requests: int, seed: int | None) -> Bounds:
    steps: list[Measured] = []
    while (rate := next_level(steps, Search(4.0))) is not None:
        draw = None if seed is None else 100 * seed + len(steps)
        steps.append(Measured(rate, judge(queue(rate, service_s, requests, draw), {"ttft_ms": 2000.0}).sustained))
    return bounds_of(steps)


def test_even_arrivals_are_sustained_up_to_the_service_rate() -> None:
    """A service of 0.25 s is 4 per second; the drift that is allowed is 1 %."""
    found = search_queue(0.25, 400, None)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 4.0 * 1.01
    assert found.high >= 4.0
