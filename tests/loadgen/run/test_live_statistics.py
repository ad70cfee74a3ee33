"""The live table, its figures checked by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from locust_kvcache.contract.quantile import quantile
from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.run.live_statistics import MAX_POINTS, Histogram, Live


def line(number: int = 1, index: int = 0, **values: Any) -> str:
    facts: dict[str, Any] = {"run_id": "r", "deployment": "d", "model": "m", "session_id": 0, "turn": 1, "worker": "w"}
    return Record(scenario="chat", round=number, request_index=index, **facts, **values).to_json()


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_percentiles_are_within_one_percent_of_the_exact_ones(q: float) -> None:
    rng = random.Random(7)
    values = [rng.lognormvariate(5, 1.5) for _ in range(2000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert histogram.quantile(q) == pytest.approx(quantile(values, q), rel=0.0101)


def test_percentiles_only_where_the_sample_carries_them() -> None:
    histogram = Histogram()
    shown = []
    for _ in range(100):
        histogram.add(10.0)
        shown.append(
            (histogram.quantile(0.5) is not None, histogram.quantile(0.9) is not None, histogram.quantile(0.99) is not None)
        )
    assert shown[0] == (True, False, False)
    assert shown[18] == (True, False, False)
    assert shown[19] == (True, True, False)
    assert shown[98] == (True, True, False)
    assert shown[99] == (True, True, True)


def test_a_row_counts_rates_and_compares_with_round_1() -> None:
    live = Live({("chat", 1): 3, ("chat", 2): 3})
    live.add([line(1, i, ttft_ms=400.0, tpot_ms=20.0, prompt_tokens=1000, reported_cached_tokens=0) for i in range(2)])
    live.add([line(1, 2, status="timeout", ttft_ms=9999.0)])
    live.add([line(2, 0, ttft_ms=100.0, prompt_tokens=1000, reported_cached_tokens=900, client_limited=True)])
    live.add([line(2, 1, ttft_ms=100.0, prompt_tokens=3000, reported_cached_tokens=2100), line(2, 2, ttft_ms=100.0)])
    cold, warm = live.rows()
    assert (cold["planned"], cold["done"], cold["failed"]) == (3, 2, 1)
    assert cold["ttft_p50_ms"] == pytest.approx(400, rel=0.01)
    assert cold["tpot_p50_ms"] == pytest.approx(20, rel=0.01)
    assert cold["hit_percent"] == 0
    assert cold["ttft_reduction_percent"] is None
    assert warm["hit_percent"] == 75  # 3000 of 4000 tokens; the third request says nothing and is not counted
    assert warm["hit_unreported"] == 1
    assert warm["ttft_reduction_percent"] == pytest.approx(75, abs=0.6)
    assert warm["client_limited"] == 1
    assert warm["tpot_p50_ms"] is None


def test_a_server_that_reports_nothing_has_no_hit_rate() -> None:
    live = Live({("chat", 1): 1})
    live.add([line(1, 0, ttft_ms=1.0, prompt_tokens=10)])
    assert live.rows()[0]["hit_percent"] is None


def test_the_chart_has_means_and_stays_small() -> None:
    live = Live()
    live.add([line(1, 0, started_at_s=50.0, ttft_ms=10.0), line(1, 1, started_at_s=50.5, ttft_ms=30.0)])
    assert live.points.lines() == [{"scenario": "chat", "round": 1, "points": [[0, 20.0]]}]
    live.add([line(1, i, started_at_s=50.0 + i, ttft_ms=20.0) for i in range(2, 5 * MAX_POINTS)])
    (drawn,) = live.points.lines()
    points = drawn["points"]
    assert len(points) <= MAX_POINTS
    assert {value for _, value in points} == {20.0}
    assert points[-1][0] == pytest.approx(5 * MAX_POINTS, abs=8)


def test_each_round_is_a_line_of_its_own_in_order_of_time() -> None:
    live = Live()
    live.add([line(1, 0, started_at_s=100.0, ttft_ms=900.0), line(1, 1, started_at_s=103.0, ttft_ms=700.0)])
    live.add([line(2, 0, started_at_s=104.5, ttft_ms=90.0), line(2, 1, started_at_s=104.9, ttft_ms=110.0)])
    assert live.points.lines() == [
        {"scenario": "chat", "round": 1, "points": [[0, 900.0], [3, 700.0]]},
        {"scenario": "chat", "round": 2, "points": [[4, 100.0]]},
    ]
