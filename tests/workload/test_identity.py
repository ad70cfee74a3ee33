"""Names, salts and priorities of requests: what stands for each placeholder, and what a salt takes away of the sharing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.identity import Identity
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.scenario_file import load_scenario, parse_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.rows import Row
from locust_kvcache.workload.traces.sharing import PrefixTree

VALUES: dict[str, Any] = {
    "name": "mine", "summary": "-", "requests": 12, "prefix": {"text": "document", "tokens": 400, "shared_by": 4},
    "turns": {"text": "question", "tokens": 20}, "output": {"tokens": 8},
}  # fmt: skip


def mine(**identity: Any) -> Scenario:
    return parse_scenario({**VALUES, "identity": identity}, "mine.yaml")


def shared(plan: Plan) -> list[int | None]:
    return [turn.shares_prefix_with for turn in plan.turns]


def test_without_an_identity_nothing_is_sent_and_nothing_is_written() -> None:
    scenario = parse_scenario(VALUES, "mine.yaml")
    assert scenario.identity.body(scenario.identity.names("n", 3)) == {}
    assert not {"identity", "tenants", "only"} & set(scenario.to_dict())
    assert Scenario.from_dict(scenario.to_dict()) == scenario


def test_names_of_sessions_users_and_tenant() -> None:
    identity = mine(tenant="shop", users=5, cache_salt="{tenant}/{user}", priority=2).identity
    names = identity.names("n", 7)
    assert names == {"{session}": "n-7", "{user}": "n-shop-user-2", "{tenant}": "shop"}
    assert identity.body(names) == {"cache_salt": "shop/n-shop-user-2", "priority": 2}
    assert Identity().names("n", 7)["{user}"] == "n-user-7"  # a user of its own


def test_a_trip_through_json_keeps_it() -> None:
    scenario = mine(users=2, headers={"x-user-id": "{user}"}, echo_headers=["X-Session-Token"], cache_salt="{user}", priority=0)
    assert Scenario.from_dict(scenario.to_dict()) == scenario
    assert scenario.identity.echo_headers == ("x-session-token",)


@pytest.mark.parametrize(
    ("salt", "sources"),
    [
        ("a", [None] * 3 + [0, 1, 2] * 3),  # 3 documents, asked in turn by 12 sessions
        ("{tenant}", [None] * 3 + [0, 1, 2] * 3),
        ("{session}", [None] * 12),
        ("{user}", [None] * 6 + [0, 1, 2, 3, 4, 5]),  # 2 users in turn: session 6 is user 0 on document 0, as session 0
    ],
)
def test_prefixes_under_different_salts_share_nothing(salt: str, sources: list[int | None]) -> None:
    plan = dry_plan(mine(users=2, cache_salt=salt), 1)
    assert shared(plan) == sources
    different = sources.count(None)
    assert plan.prefixes == different
    assert working_set_tokens(plan) == different * 400 + 12 * 20


def test_later_turns_of_a_session_share_under_its_own_salt() -> None:
    scenario = load_scenario("multi_turn_conversation")
    salted = dataclasses.replace(scenario, identity=Identity(cache_salt="{session}"))
    plain, own = dry_plan(scenario, 1), dry_plan(salted, 1)
    assert [turn.shares_prefix_with for turn in own.turns if turn.number > 1] == [
        turn.shares_prefix_with for turn in plain.turns if turn.number > 1
    ]


def test_rows_of_a_trace_under_different_salts_share_nothing() -> None:
    rows = [Row(0.0, 1024, 1, (1, 2)), Row(1.0, 1024, 1, (1, 2)), Row(2.0, 1024, 1, (1, 2))]
    tree = PrefixTree(lambda row: rows[row].blocks, 512)
    found = [
        tree.add(number, row.blocks, row.input_tokens, salt)
        for number, (row, salt) in enumerate(zip(rows, (0, 1, 0), strict=True))
    ]
    assert [(one.tokens, one.source) for one in found] == [(0, None), (0, None), (1024, 0)]


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"cache_salt": ""}, "expected a text such as '{user}'"),
        ({"headers": ["x"]}, "expected a mapping"),
        ({"headers": {"x-user": "${NAME}"}}, "go into the deployment file"),
        ({"headers": {"Host": "a"}}, "set by the load generator itself"),
        ({"echo_headers": 3}, "such as [x-session-token]"),
        ({"users": -1}, "expected at least 0"),
        ({"priority": "high"}, "expected a whole number"),
        ({"tenant": "a b"}, "letters, digits"),
        ({"salt": "x"}, "cache_salt"),
    ],
)
def test_what_cannot_be_is_refused(identity: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mine\.yaml") as refused:
        mine(**identity)
    assert words in str(refused.value)
