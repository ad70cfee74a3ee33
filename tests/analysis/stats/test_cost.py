"""Cost, energy and break-even from figures that can be checked by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.stats.cost import OPEN_LOOP, break_even, cost_rows


def one_round(number: int, kind: str, wall_s: float, **more: Any) -> dict[str, Any]:
    row = {"scenario": "s", "round": number, "kind": kind, "wall_s": wall_s, "succeeded": 100, "prompt_tokens": 500_000.0,
           "output_tokens": 20_000.0, "planned_cached_tokens": 100_000.0}  # fmt: skip
    busy = {"busy_requests_per_s": None, "busy_requests_per_s_low": None, "busy_requests_per_s_high": None}
    return {**row, **busy, **more}


ROUNDS = pd.DataFrame(
    [
        one_round(1, "cold", 90.0, busy_requests_per_s=2.0, busy_requests_per_s_low=1.6, busy_requests_per_s_high=2.5),
        one_round(2, "control", 90.0),
        one_round(3, "hit", 45.0),
    ]
)
ENERGY = pd.DataFrame(
    [{"scenario": "s", "round": 1, "energy_gpus": 4, "power_w": 2000.0, "energy_by": "counter", "least_readings": 9}]
)


def test_cost_of_a_round() -> None:
    """4 GPUs x 90 s = 360 GPU-s = 0.1 GPU-h x 5 = 0.5; over 100 requests, 0.5 M prompt tokens, 0.02 M output tokens. 2 requests/s cost
    4 x 5 / 3600 / 2 each, 1.6 and 2.5 requests/s are the interval's ends."""
    cold = cost_rows(ROUNDS, ENERGY.iloc[:0], 4, 5.0)[0]
    assert (cold["gpu_seconds"], cold["cost"]) == (360.0, pytest.approx(0.5))
    assert cold["cost_per_request"] == pytest.approx(0.005)
    assert cold["cost_per_million_prompt_tokens"] == pytest.approx(1.0)
    assert cold["cost_per_million_output_tokens"] == pytest.approx(25.0)
    busy = [cold[f"busy_cost_per_request{end}"] for end in ("", "_low", "_high")]
    assert busy == pytest.approx([20 / 3600 / 2, 20 / 3600 / 2.5, 20 / 3600 / 1.6])
    assert (cold["joules"], cold["power_w"]) == (None, None)


def test_energy_of_a_round() -> None:
    """2,000 W x 90 s = 180 kJ; over 100 requests 1.8 kJ, per million prompt tokens 360 kJ, per million output tokens 9 MJ."""
    cold, _, hit = cost_rows(ROUNDS, ENERGY, None, None)
    assert cold["joules"] == pytest.approx(180_000)
    assert cold["joules_per_request"] == pytest.approx(1800)
    assert cold["joules_per_million_prompt_tokens"] == pytest.approx(360_000)
    assert cold["joules_per_million_output_tokens"] == pytest.approx(9_000_000)
    assert (cold["cost"], cold["busy_cost_per_request"], hit["joules"]) == (None, None, None)


def test_nothing_is_said_without_a_price_and_without_energy() -> None:
    assert cost_rows(ROUNDS, ENERGY.iloc[:0], None, 5.0) == []
    assert cost_rows(ROUNDS, ENERGY.iloc[:0], 4, None) == []
    assert break_even(ROUNDS, [], True, 4, None, None, 1e5, {}) == []


def test_tokens_that_are_not_known_have_no_cost() -> None:
    some = ROUNDS.assign(prompt_tokens=None, wall_s=[90.0, float("nan"), 45.0])
    cold, control, _ = cost_rows(some, ENERGY, 4, 5.0)
    assert (cold["cost_per_million_prompt_tokens"], cold["cost_per_request"]) == (None, pytest.approx(0.005))
    assert (control["cost"], control["gpu_seconds"]) == (None, None)


def test_break_even() -> None:
    """400,000 different tokens x 100 kB = 40 GB. 4 GPUs x (90 - 45) s = 180 GPU-s saved per use = 0.05 GPU-h x 5 = 0.25; 40 GB x 0.1 = 4
    a month: 16 uses. The control repeats nothing."""
    (row,) = break_even(ROUNDS, [{"scenario": "s", "round": 3, "tier": "store"}], True, 4, 5.0, 0.1, 100_000.0, {})
    assert (row["round"], row["tier"], row["stored_gb"], row["saved_gpu_seconds"]) == (
        3,
        "store",
        pytest.approx(40.0),
        pytest.approx(180.0),
    )
    assert row["saved_gpu_seconds_per_gb"] == pytest.approx(4.5)
    assert row["reuses_per_month"] == pytest.approx(16.0)
    assert row["why_not"] is None


def test_what_saves_nothing_never_pays_and_an_open_loop_says_nothing() -> None:
    slower = ROUNDS.assign(wall_s=[90.0, 90.0, 99.0])
    (row,) = break_even(slower, [], True, 4, 5.0, 0.1, 100_000.0, {})
    assert (row["saved_gpu_seconds"], row["reuses_per_month"]) == (pytest.approx(-36.0), None)
    (row,) = break_even(ROUNDS, [], False, 4, 5.0, 0.1, 100_000.0, {})
    assert (row["saved_gpu_seconds"], row["why_not"]) == (None, OPEN_LOOP)
    fewer = ROUNDS.assign(succeeded=[100, 100, 99])
    assert "different numbers" in break_even(fewer, [], True, 4, 5.0, 0.1, 100_000.0, {})[0]["why_not"]
    assert "gpus" in break_even(ROUNDS, [], True, None, 5.0, 0.1, 100_000.0, {})[0]["why_not"]


def test_what_is_not_credited_to_the_cache_saves_nothing_that_is_known() -> None:
    (row,) = break_even(ROUNDS, [], True, 4, 5.0, 0.1, 100_000.0, {"s": "nothing hit"})
    assert (row["saved_gpu_seconds"], row["reuses_per_month"], row["why_not"]) == (None, None, "nothing hit")
