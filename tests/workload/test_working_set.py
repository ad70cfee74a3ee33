"""Sizes of a sweep, and scenarios that fill them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.working_set import filling, parse_sizes, sweep_sizes


def test_sizes_lie_around_each_tier() -> None:
    assert sweep_sizes({"gpu": 1000}) == (500, 700, 850, 1000, 1200, 1500, 2000)
    both = sweep_sizes({"gpu": 1000, "store": 10_000})
    assert both[0] == 500
    assert both[-1] == 20_000
    assert {1000, 1200, 10_000, 12_000} <= set(both)
    assert all(after >= 1.09 * before for before, after in itertools.pairwise(both))
    with pytest.raises(BadInput, match="give sizes in tokens"):
        sweep_sizes({})


@pytest.mark.parametrize("name", ["cold_start", "long_context_high_reuse", "multi_turn_conversation"])
def test_a_scenario_fills_what_is_asked_within_one_session(name: str) -> None:
    scenario = load_scenario(name)
    for tokens in (30_000, 100_000):
        sized, exact = filling(scenario, tokens, 1)
        assert exact == working_set_tokens(dry_plan(sized, 1))
        assert abs(exact - tokens) <= 5000


def test_one_prefix_for_all_cannot_grow() -> None:
    with pytest.raises(BadInput, match="cannot grow"):
        filling(dataclasses.replace(load_scenario("cold_start"), prefix_shared_by=0), 1000, 1)


def test_sizes_that_a_person_wrote() -> None:
    assert parse_sizes(["auto"]) is None
    assert parse_sizes(["2000", "1000"]) == (1000, 2000)
    for wrong in (["1e5"], ["auto", "5"], ["0"], ["5", "5"]):
        with pytest.raises(BadInput, match="--working-set is"):
            parse_sizes(wrong)
