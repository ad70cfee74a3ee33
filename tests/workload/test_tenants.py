"""Several tenants in one scenario: shares hold, each keeps its own plan, and one alone sends what it sends in the mix."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.protocol.arrivals import Arrival, plan_due_s
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.mixed_sessions import even_order
from locust_kvcache.workload.scenario_file import parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.tenants import alone
from locust_kvcache.workload.warm_up import window_sessions
from tests.workload.test_plan import ONE_EACH

QUIET: dict[str, Any] = {
    "share": 0.25, "prefix": {"text": "document", "tokens": 400, "shared_by": 5}, "turns": {"text": "question", "tokens": [10, 90]},
    "output": {"tokens": 8}, "identity": {"cache_salt": "{tenant}", "priority": 0, "users": 2},
}  # fmt: skip
LOUD: dict[str, Any] = {
    "share": 0.75, "prefix": {"text": "code", "tokens": 900}, "turns": {"text": "instruction", "tokens": 30, "count": 3},
    "output": {"tokens": 20, "temperature": 1.0}, "identity": {"priority": 5},
}  # fmt: skip


def mix(requests: int = 40, quiet: dict[str, Any] = QUIET, loud: dict[str, Any] = LOUD) -> Scenario:
    values = {"name": "mix", "summary": "-", "requests": requests, "tenants": {"quiet": quiet, "loud": loud}}
    return parse_scenario(values, "mix.yaml")


def test_the_mix_sums_its_tenants_up() -> None:
    scenario = mix()
    assert [(one.name, one.identity.tenant, one.requests) for one in scenario.tenants] == [
        ("mix_quiet", "quiet", 10),
        ("mix_loud", "loud", 30),
    ]
    assert (scenario.requests, scenario.turns, scenario.prefix_tokens, scenario.output_tokens) == (40, 3, 900, 20)
    assert Scenario.from_dict(scenario.to_dict()) == scenario
    assert [one.requests for one in scenario.with_requests(20).tenants] == [5, 15]


def test_every_request_has_one_number_and_its_tenants_plan() -> None:
    scenario = mix()
    plan = dry_plan(scenario, 1)
    turns = list(plan.turns)
    assert [turn.request_index for turn in turns] == list(range(40))
    for one in scenario.tenants:
        own = dry_plan(one, 1)
        mine = [turn for turn in turns if plan.scenario_of(turn.session_id) == one]
        assert [turn.prompt_tokens for turn in mine] == [turn.prompt_tokens for turn in own.turns]
        place = {turn.request_index: k for k, turn in enumerate(mine)}
        links = [None if turn.shares_prefix_with is None else place[turn.shares_prefix_with] for turn in mine]
        assert links == [turn.shares_prefix_with for turn in own.turns]
    assert plan.prompt_tokens == sum(dry_plan(one, 1).prompt_tokens for one in scenario.tenants)
    assert working_set_tokens(plan) == sum(working_set_tokens(dry_plan(one, 1)) for one in scenario.tenants)
    assert plan.prefixes == 2 + 10
    assert len({session.prefix_id for session in plan.sessions}) == 12


def test_tenants_are_spread_evenly() -> None:
    assert list(even_order([2, 6])) == [1, 0, 1, 1, 1, 0, 1, 1]  # tenant 0 at 1/4 and 3/4; the first of equal places
    order = list(even_order([10, 30]))
    for start in range(0, 40, 8):
        assert order[start : start + 8].count(0) == 2


def test_texts_are_the_tenants_own() -> None:
    plan = make_plan(mix(), ONE_EACH, "n0", 1)
    for session in plan.sessions:
        part, inner = plan.part(session.session_id)
        assert plan.prefix_message(session) == part.prefix_message(part.sessions[inner])
        assert plan.prefix_message(session).startswith("n0 ")
        assert part.scenario.name.replace("_", " ") in plan.prefix_message(session)
    other = plan.with_nonce("n1")
    assert other.prefix_message(other.sessions[0]).startswith("n1 ")
    assert {
        plan.names(s.session_id)["{user}"] for s in plan.sessions if plan.scenario_of(s.session_id).identity.tenant == "quiet"
    } == {
        "n0-quiet-user-0",
        "n0-quiet-user-1",
    }


def test_one_tenant_alone_sends_the_same_at_the_same_times() -> None:
    scenario = mix()
    whole, quiet = dry_plan(scenario, 1), dry_plan(alone(scenario, "quiet"), 1)
    of_quiet = [s for s in whole.sessions if whole.scenario_of(s.session_id).identity.tenant == "quiet"]
    assert [t.prompt_tokens for t in quiet.turns] == [t.prompt_tokens for s in of_quiet for t in s.turns]
    assert [t.request_index for t in quiet.turns] == list(range(10))
    arrival = Arrival("poisson", 5.0, 1.0)
    in_the_mix, by_itself = plan_due_s(arrival, whole, "k"), plan_due_s(arrival, quiet, "k")
    assert in_the_mix is not None
    assert by_itself is not None
    assert list(by_itself) == [in_the_mix[session.session_id] for session in of_quiet]
    assert working_set_tokens(quiet) == working_set_tokens(dry_plan(scenario.tenants[0], 1))


def test_a_warm_up_takes_sessions_of_the_mix() -> None:
    assert window_sessions(dry_plan(mix(), 1), 4)


@pytest.mark.parametrize(
    ("quiet", "words"),
    [
        ({**QUIET, "share": 0.5}, "the shares add up to 1.25"),
        ({**QUIET, "requests": 5}, "belongs to the scenario as a whole"),
        ({"share": 0.25, "scenario": "dose_response"}, "are not for a mix"),
        ({"share": 0.25, "scenario": "cold_start", "turns": {}}, "turns"),
        ("half", "expected a mapping with `share`"),
    ],
)
def test_what_cannot_be_mixed_is_refused(quiet: Any, words: str) -> None:
    with pytest.raises(BadInput, match=r"mix\.yaml") as refused:
        mix(quiet=quiet)
    assert words in str(refused.value)


def test_a_tenant_that_is_a_scenario_of_the_product() -> None:
    scenario = mix(quiet={"share": 0.25, "scenario": "long_context_high_reuse", "identity": {"priority": 1}})
    assert (scenario.tenants[0].prefix_tokens, scenario.tenants[0].identity.priority) == (4000, 1)


def test_nobody_is_alone_who_is_not_there() -> None:
    with pytest.raises(BadInput, match="has no tenant 'other'; it has quiet, loud"):
        alone(mix(), "other")
