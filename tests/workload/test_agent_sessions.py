"""Sessions of agents: who carries what, who waits for whom, and what is shared, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.worker.prepared_requests import calling_turns
from locust_kvcache.workload.budget import Expectation, dry_plan, session_s
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan
from locust_kvcache.workload.scenario_file import parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.text import KINDS

TOOLS = {"share": 1.0, "result_tokens": 100, "time": 2, "schema_tokens": 500}
FORKS = {"every": 2, "branches": 2, "turns": 2, "task_tokens": 30, "summary_tokens": 20}


def scenario(requests: int = 20, **given: Any) -> Scenario:
    return parse_scenario(
        {
            "name": "agents",
            "summary": "-",
            "requests": requests,
            "prefix": {"text": "instruction", "tokens": 500, "shared_by": "all"},
            "turns": {"count": 4, "text": "question", "tokens": 50, "think_time": 7},
            "output": {"tokens": 10},
            **given,
        },
        "agents.yaml",
    )


def plan(requests: int = 20, **given: Any) -> Plan:
    return dry_plan(scenario(requests, **given), 1)


def test_results_of_tools_come_after_their_time_behind_the_schemas() -> None:
    turns = plan(tools=TOOLS).sessions[0].turns
    assert [turn.prompt_tokens for turn in turns] == [1050, 1160, 1270, 1380]
    assert [turn.wait_s for turn in turns] == [0, 2, 2, 2]
    assert [turn.text for turn in turns] == ["", "code", "code", "code"]
    assert [turn.shared_tokens for turn in turns] == [0, 1050, 1160, 1270]
    second = plan(tools=TOOLS).sessions[1].turns[0]
    assert (second.shared_tokens, second.shares_prefix_with) == (1000, 0)


def test_a_fork_shares_its_parents_prompt_and_returns_summaries() -> None:
    one, two, a1, a2, b1, b2, three, four = plan(forks=FORKS).sessions[0].turns
    assert [turn.lane for turn in (one, two, a1, a2, b1, b2, three, four)] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert a1.carried == b1.carried == three.carried == (1, 2)
    assert a2.carried == (1, 2, 3)
    assert (a1.waits_for, b1.waits_for, a2.waits_for, three.waits_for) == ((2,), (2,), (3,), (4, 6))
    assert (a1.shared_tokens, a1.shares_prefix_with) == (two.prompt_tokens, 1)
    # with planned answers the first branch brings the answer too, all others share it
    assert [(t.shared_tokens, t.shares_prefix_with) for t in (b1, three)] == [(two.prompt_tokens + 10, 2)] * 2
    assert three.prompt_tokens == two.prompt_tokens + 10 + 50 + 2 * 20
    assert four.carried == (1, 2, 7)


def test_compaction_rewrites_what_is_behind_the_prefix() -> None:
    turns = plan(compaction={"at_tokens": 620, "summary_tokens": 40}).sessions[0].turns
    assert [turn.prompt_tokens for turn in turns] == [550, 610, 590, 590]  # 500 + 50, + 10 + 50, 500 + 40 + 50, again
    assert [turn.carried for turn in turns] == [(), (1,), (), ()]
    assert [(turn.shared_tokens, turn.shares_prefix_with) for turn in turns] == [(0, None), (550, 0), (500, 0), (500, 0)]


def test_branches_take_the_time_of_the_slowest() -> None:
    one = plan(8, forks=FORKS)
    took = session_s(one, one.sessions[0], False, 16, Expectation(cold_ttft_ms=1000, hit_ttft_ms=1000, tpot_ms=0))
    assert took == 7 + 7 + 7 + (1 + 1 + 1 + 1 + 1 + 1)  # turns 1 and 2, two of a branch, turns 3 and 4; three of them wait 7 s


def test_the_working_set_counts_what_is_rewritten() -> None:
    assert working_set_tokens(plan(4, compaction={"at_tokens": 620, "summary_tokens": 40})) == 550 + 60 + 90 + 90


def test_a_tool_role_answers_a_call() -> None:
    one = plan(tools={**TOOLS, "role": "tool"})
    assert [turn.role for turn in one.sessions[0].turns] == ["user", "tool", "tool", "tool"]
    assert calling_turns(one.sessions[0]) == {1, 2, 3}
    assert calling_turns(plan(tools=TOOLS).sessions[0]) == set()


SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.just({**TOOLS, "share": 0.5}),
        "forks": st.fixed_dictionaries(
            {
                "every": st.integers(1, 3),
                "branches": st.integers(1, 3),
                "turns": st.integers(1, 3),
                "task_tokens": st.just(30),
                "summary_tokens": st.just(20),
            }
        ),
        "compaction": st.just({"at_tokens": 1200, "summary_tokens": 40}),
        "turns": st.just({"count": [1, 7], "text": "question", "tokens": [20, 60]}),
    },
).filter(bool)


@given(SHAPES, st.integers(1, 60), st.integers(1, 5))
def test_every_plan_holds_together(shape: dict[str, Any], requests: int, seed: int) -> None:
    one = scenario(requests, **shape)
    found = make_plan(one, Calibration(dict.fromkeys(KINDS, 1.0), {}, 0.0, 10.0, 5.0, "-"), "n", seed)
    assert Scenario.from_dict(one.to_dict()) == one
    assert [turn.request_index for turn in found.turns] == list(range(requests))
    for turn in found.turns:
        mine = found.sessions[turn.session_id].turns
        assert all(number < turn.number for number in (*turn.carried, *turn.waits_for))
        assert turn.shared_tokens < turn.prompt_tokens
        assert turn.shares_prefix_with is None or turn.shares_prefix_with < turn.request_index
        # all that it carries has ended when it is sent
        waited, open_ones = set[int](), list(turn.waits_for)
        while open_ones:
            waited.add(number := open_ones.pop())
            open_ones += mine[number - 1].waits_for
        assert set(turn.carried) <= waited
    longer = make_plan(scenario(requests + 10, **shape), found.calibration, "n", seed)
    assert [t.prompt_tokens for t in longer.turns][:requests] == [t.prompt_tokens for t in found.turns]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tools": {"share": 2, "result_tokens": 5}}, "share' is 2; expected a share"),
        ({"tools": {"share": 0.5}}, "result_tokens' is None"),
        ({"forks": {"every": 0}}, "every' is 0; expected at least 1"),
        ({"compaction": {"at_tokens": 400, "summary_tokens": 5}}, "expected more than the prefix"),
        ({"compaction": {"at_tokens": 4000, "summary": 5}}, "summary_tokens' is missing"),
        ({"forks": FORKS, "api": "completions"}, "api: completions stands beside forks"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        scenario(**given)
    assert said in str(error.value)
