"""Waits between turns: drawn from the seed, planned, cut and scaled by options; what is no distribution is named."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.budget import Expectation, dry_plan, session_s
from locust_kvcache.workload.scenario_file import parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.tenants import with_gaps
from locust_kvcache.workload.waits import Gaps, Waits, parse_waits

SHORT: dict[str, Any] = {
    "name": "chat",
    "summary": "-",
    "requests": 30,
    "prefix": {"text": "document", "tokens": 100},
    "output": {"tokens": 10},
}


def waits(value: Any, folder: Path = Path()) -> Waits:
    return parse_waits(Section({"think_time": value}, "a.yaml"), "think_time", folder)


def scenario(think_time: Any, **turns: Any) -> Scenario:
    given = {"count": 3, "text": "question", "tokens": 50, "think_time": think_time, **turns}
    return parse_scenario({**SHORT, "turns": given}, "a.yaml")


def drawn(value: Any, count: int = 20_000, folder: Path = Path()) -> list[float]:
    rng, found = random.Random(1), waits(value, folder)
    return [found.draw(2, rng) for _ in range(count)]


def test_each_distribution_has_the_figures_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "gaps.txt").write_text("# seconds\n1\n2.5\n\n")
    assert set(drawn(5, 10)) == set(drawn({"distribution": "constant", "mean_s": 5}, 10)) == {5.0}
    assert statistics.mean(drawn({"distribution": "exponential", "mean_s": 4})) == pytest.approx(4, rel=0.05)
    found = sorted(drawn({"distribution": "lognormal", "median_s": 5.2, "p99_s": 81.4}))
    assert found[len(found) // 2] == pytest.approx(5.2, rel=0.05)
    assert found[len(found) * 99 // 100] == pytest.approx(81.4, rel=0.15)
    assert max(drawn({"distribution": "lognormal", "median_s": 5.2, "p99_s": 81.4, "max_s": 60})) == 60
    assert set(drawn({"distribution": "empirical", "file": "gaps.txt"}, 100, tmp_path)) == {1.0, 2.5}


def test_by_turn_the_last_one_goes_on() -> None:
    plan = dry_plan(scenario({"by_turn": [30, 2]}, count=5), 1)
    assert [turn.wait_s for turn in plan.sessions[0].turns] == [0, 30, 2, 2, 2]


def test_waits_are_of_the_seed_and_of_the_plan() -> None:
    one = scenario({"distribution": "exponential", "mean_s": 4})
    plan = dry_plan(one, 1)
    planned = [turn.wait_s for turn in plan.turns]
    assert planned == [turn.wait_s for turn in dry_plan(Scenario.from_dict(one.to_dict()), 1).turns]
    assert planned != [turn.wait_s for turn in dry_plan(one, 2).turns]
    assert all((turn.wait_s > 0) == (turn.number > 1) for turn in plan.turns)
    took = session_s(plan, plan.sessions[0], False, 16, Expectation(cold_ttft_ms=1000, tpot_ms=0))
    assert took == pytest.approx(3 + sum(planned[:3]))


def test_options_scale_and_cut_what_was_drawn() -> None:
    one = scenario({"by_turn": [30, 2]})
    assert [turn.wait_s for turn in dry_plan(with_gaps(one, Gaps(0.5, 10)), 1).sessions[0].turns] == [0, 10, 1]
    assert [turn.wait_s for turn in dry_plan(with_gaps(one, Gaps(0.0)), 1).sessions[0].turns] == [0, 0, 0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("soon", "think_time' is 'soon'; expected a number"),
        (-1, "expected at least 0"),
        ({"mean_s": 4}, "distribution' is missing"),
        ({"distribution": "normal", "mean_s": 4}, "allowed: constant, exponential, lognormal, empirical"),
        ({"distribution": "exponential", "median_s": 4}, "mean_s' is missing"),
        ({"distribution": "lognormal", "median_s": 4, "p99_s": 2}, "expected at least 4"),
        ({"by_turn": []}, "expected a list"),
        ({"by_turn": [1, "x"]}, "think_time.by_turn': key '1' is 'x'"),
        ({"distribution": "empirical", "file": "gaps.txt"}, "gaps.txt: line 2 is 'x'; expected a number of seconds"),
    ],
)
def test_what_is_no_wait_is_named(value: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "gaps.txt").write_text("1\nx\n")
    with pytest.raises(BadInput) as error:
        waits(value, tmp_path)
    assert said in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["distribution", "mean_s", "median_s", "p99_s", "max_s", "by_turn", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_value_is_waits_or_bad_input(value: Any) -> None:
    try:
        found = waits(value)
    except BadInput:
        return
    rng = random.Random(0)
    assert all(math.isfinite(wait) and wait >= 0 for wait in (found.draw(turn, rng) for turn in range(1, 6)))
