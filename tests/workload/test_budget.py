"""What a round will take, by hand."""

from __future__ import annotations

import dataclasses

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.slo import EXPECTED, parse_slo, parse_times
from locust_kvcache.workload.budget import Expectation, cost, dry_plan, round_budget, session_s
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.scenario_file import load_scenario

EXPECTED_TIMES = Expectation(cold_ttft_ms=1000.0, hit_ttft_ms=200.0, tpot_ms=10.0, source="a person")
COLD = dataclasses.replace(load_scenario("cold_start"), requests=8, prefix_tokens=950, turn_tokens=(50, 50), output_tokens=11)


def test_cold_round_counts_and_closed_loop_duration() -> None:
    """8 requests of 1,000 + 11 tokens; each 1,000 + 10 x 10 ms = 1.1 s; by 4 users: 2 each, 2.2 s."""
    budget = round_budget(dry_plan(COLD, 1), 1, "cold", 4, None, EXPECTED_TIMES)
    assert (budget.requests, budget.prompt_tokens, budget.planned_cached_tokens, budget.output_tokens) == (8, 8000, 0, 88)
    assert budget.duration_s == pytest.approx(2.2)


def test_hit_round_is_cached_in_whole_blocks() -> None:
    """999 of 1,000 tokens are 62 blocks of 16: 992. TTFT 1,000 - 800 x 0.992 = 206.4 ms, and 100 ms of decoding."""
    plan = dry_plan(COLD, 1)
    budget = round_budget(plan, 2, "hit", 4, None, EXPECTED_TIMES)
    assert budget.planned_cached_tokens == 8 * 992
    assert session_s(plan, plan.sessions[0], True, 16, EXPECTED_TIMES) == pytest.approx(0.3064)
    assert budget.duration_s == pytest.approx(2 * 0.3064)


def test_no_round_is_shorter_than_its_longest_session() -> None:
    assert round_budget(dry_plan(COLD, 1), 1, "cold", 100, None, EXPECTED_TIMES).duration_s == pytest.approx(1.1)


def test_open_loop_lasts_as_its_arrivals() -> None:
    """8 starts at 2 per second: the last at 3.5 s, and its 1.1 s; without times the arrivals alone."""
    assert round_budget(dry_plan(COLD, 1), 1, "cold", 1, 2.0, EXPECTED_TIMES).duration_s == pytest.approx(4.6)
    assert round_budget(dry_plan(COLD, 1), 1, "cold", 1, 2.0, Expectation()).duration_s == pytest.approx(3.5)


def test_what_is_not_known_is_none() -> None:
    assert round_budget(dry_plan(COLD, 1), 1, "cold", 4, None, Expectation()).duration_s is None
    assert round_budget(dry_plan(COLD, 1), 1, "cold", 4, None, Expectation(cold_ttft_ms=1000.0)).duration_s is None


def test_cost_and_footprint() -> None:
    assert cost(1800, 8, 2.5) == pytest.approx(10.0)
    assert working_set_tokens(dry_plan(COLD, 1)) == 8000


@pytest.mark.parametrize("word", ["ttft=1", "ttft_ms", "ttft_ms=fast", "ttft_ms=0"])
def test_bad_times_are_named(word: str) -> None:
    with pytest.raises(BadInput, match="--slo is"):
        parse_slo([word])
    assert parse_times("--expect", ["hit_ttft_ms=3"], EXPECTED) == {"hit_ttft_ms": 3.0}
