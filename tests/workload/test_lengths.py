"""Lengths by distribution and documents by popularity: bounds, known shares, the same plan everywhere."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from statistics import mean, median, stdev
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.lengths import Lengths
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan, planned_cached_tokens
from locust_kvcache.workload.scenario_file import FOLDER, parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import finished

CALIBRATION = Calibration({"document": 1, "question": 1, "dialogue": 1, "code": 1, "instruction": 1}, {}, 0, 8, 4, "assumed")
BASE: dict[str, Any] = yaml.safe_load((FOLDER / "cold_start.yaml").read_text())


def scenario(**changes: dict[str, Any]) -> Scenario:
    """cold_start with some keys of its sections changed; None drops a key."""
    values = copy.deepcopy(BASE)
    for section, keys in changes.items():
        values[section] = {k: v for k, v in {**values[section], **keys}.items() if v is not None}
    return parse_scenario(values, "x.yaml")


def plan(one: Scenario, requests: int, seed: int = 1) -> Plan:
    return make_plan(one.with_requests(requests), CALIBRATION, "nonce", seed)


@given(st.sampled_from(["normal", "lognormal"]), st.integers(1, 500), st.integers(0, 500), st.floats(0, 1000), st.integers())
def test_never_outside_its_bounds(kind: str, low: int, width: int, spread: float, seed: int) -> None:
    one = Lengths(kind, low, low + width, low + width / 2, spread if kind == "normal" else spread / 100)
    assert all(low <= one.draw(random.Random(seed)) <= low + width for _ in range(3))


def test_a_wide_lognormal_is_no_error() -> None:
    drawn = {Lengths("lognormal", 10, 99, 50, 1e6).draw(random.Random(seed)) for seed in range(5)}
    assert all(10 <= one <= 99 for one in drawn)


def test_the_center_is_what_was_asked_for() -> None:
    normal = scenario(turns={"tokens": {"normal": {"mean": 500, "std": 100, "min": 1, "max": 999}}})
    drawn = [turn.user_tokens for turn in plan(normal, 4000).turns]
    assert mean(drawn) == pytest.approx(500, abs=100 / 4000**0.5 * 4)  # four standard errors
    skewed = scenario(output={"tokens": {"lognormal": {"median": 300, "sigma": 0.5, "min": 1, "max": 100_000}}})
    outputs = [turn.output_tokens or 0 for turn in plan(skewed, 4000).turns]
    assert median(outputs) == pytest.approx(300, rel=4 * 1.2533 * 0.5 / 4000**0.5)
    assert mean(outputs) == pytest.approx(300 * 2.71828 ** (0.5**2 / 2), rel=0.05)  # a lognormal's mean lies above its median


def test_empirical_lengths_are_the_listed_ones() -> None:
    one = scenario(turns={"tokens": {"empirical": [100, 100, 100, 900]}})
    assert (one.turn_tokens, Counter(turn.user_tokens for turn in plan(one, 2000).turns).keys()) == ((100, 900), {100, 900})
    assert sum(turn.user_tokens == 900 for turn in plan(one, 2000).turns) == pytest.approx(500, abs=80)


def test_a_conversation_grows_by_what_was_answered() -> None:
    """Turn 2's prompt: all of turn 1's, its answer's planned length, and its own words."""
    one = scenario(turns={"count": 3}, output={"tokens": {"empirical": [10, 200]}})
    for session in plan(one, 30).sessions:
        for before, turn in zip(session.turns, session.turns[1:], strict=False):
            assert turn.prompt_tokens == before.prompt_tokens + (before.output_tokens or 0) + turn.user_tokens
            assert turn.shared_tokens == before.prompt_tokens  # the reply is planned: the engine has not computed it
    written = plan(one, 6)
    first = written.sessions[0].turns[0]
    assert len(finished(written.reply_steps(first)).split()) == pytest.approx(first.output_tokens or 0, abs=2)


def test_the_same_on_every_worker_and_after_a_trip() -> None:
    one = scenario(
        prefix={"shared_by": None, "popularity": {"documents": 7, "zipf": 1.1}},
        turns={"tokens": {"normal": {"mean": 50, "std": 9, "min": 1, "max": 99}}},
        output={"tokens": {"empirical": [5, 9]}},
    )
    again = Scenario.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert plan(again, 40).sessions == plan(one, 40).sessions
    assert plan(one, 40).sessions != plan(one, 40, seed=2).sessions


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_documents_are_as_popular_as_zipf_says(exponent: float) -> None:
    one = scenario(prefix={"shared_by": None, "popularity": {"documents": 4, "zipf": exponent}})
    drawn = Counter(session.prefix_id for session in plan(one, 8000).sessions)
    total = sum(k**-exponent for k in range(1, 5))
    for rank in range(4):
        share = (rank + 1) ** -exponent / total
        assert drawn[rank] / 8000 == pytest.approx(share, abs=4 * (share * (1 - share) / 8000) ** 0.5)


def test_what_an_endless_cache_hits_by_hand() -> None:
    """Every request but the first on each document shares the document: 4,000 tokens, 250 blocks of 16."""
    one = scenario(prefix={"shared_by": None, "popularity": {"documents": 5, "zipf": 1.0}})
    planned = plan(one, 50)
    used = len({session.prefix_id for session in planned.sessions})
    cached = [planned_cached_tokens(turn, False, None, 16) for turn in planned.turns]
    assert (cached.count(0), cached.count(4000)) == (used, 50 - used)


def test_how_many_documents_are_cold_by_the_formula() -> None:
    """Of n requests, the document with share p is used at all with 1 - (1 - p)^n; each used one is cold once."""
    one = scenario(prefix={"shared_by": None, "popularity": {"documents": 20, "zipf": 1.1}})
    weights = [k**-1.1 for k in range(1, 21)]
    expected = sum(1 - (1 - weight / sum(weights)) ** 30 for weight in weights)
    seen = [sum(turn.shared_tokens == 0 for turn in plan(one, 30, seed).turns) for seed in range(200)]
    assert mean(seen) == pytest.approx(expected, abs=4 * stdev(seen) / 200**0.5)


@pytest.mark.parametrize(
    ("section", "keys", "told"),
    [
        ("turns", {"tokens": {"normal": {"mean": 5, "std": 1, "min": 10, "max": 20}}}, "center 5 outside min 10 and max 20"),
        ("turns", {"tokens": {"gauss": {"mean": 5}}}, "gauss' is unknown"),
        ("turns", {"tokens": {}}, "no distribution"),
        ("output", {"tokens": {"empirical": [0, 3]}}, "at least 1 each"),
        ("output", {"tokens": {"normal": {"mean": 5, "std": 1, "min": 1}}}, "max' is missing"),
        ("prefix", {"popularity": {"documents": 5, "zipf": 1.0}}, "leave one out"),
        ("prefix", {"shared_by": None, "popularity": {"documents": 0, "zipf": 1.0}}, "at least 1"),
    ],
)
def test_errors_name_the_key(section: str, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as raised:
        scenario(**{section: keys})
    assert "x.yaml: key" in str(raised.value)
