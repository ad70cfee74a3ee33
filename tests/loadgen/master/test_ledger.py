"""Who gets which sessions, and what of them may have been sent."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.master.ledger import Ledger, _deal_once, deal
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.scenario_file import load_scenario

USERS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0, 1, 2, 3, 5, 7, 10, 33]), min_size=1)


@given(st.integers(0, 400), USERS.filter(lambda users: any(users.values())))
def test_dealing_repeats_itself_and_is_the_same_as_one_by_one(sessions: int, users: dict[str, int]) -> None:
    shares = {worker: list(share) for worker, share in deal(sessions, users).items()}
    assert shares == _deal_once(sessions, users)
    assert sorted(session for share in shares.values() for session in share) == list(range(sessions))


def test_what_was_released_may_have_been_sent_and_what_was_not_cannot() -> None:
    plan = dry_plan(dataclasses.replace(load_scenario("multi_turn_conversation"), requests=25, turns=5), 1)
    ledger = Ledger(plan, {})
    ledger.add("a", [4, 0])
    ledger.add("b", [1, 2, 3])
    assert ledger.release("a", 0, 1) == ([0], 1)
    assert ledger.release("a", 0, 1) == ([0], 1), "asked twice"
    assert ledger.release("b", 0, 2) == ([1, 2], 1)
    seen = {0, 1, 5, 6, 7, 8, 9}
    assert [turn.request_index for turn in ledger.open_turns("a", seen)] == [2, 3, 4]
    assert [turn.request_index for turn in ledger.open_turns("b", seen)] == [10, 11, 12, 13, 14]
    assert ledger.still_has("a", seen) == 8
    assert ledger.hand_back("b", [2, 3]) == [2]
    assert (ledger.released_count("b"), ledger.withdraw("b"), ledger.withdraw("b")) == (1, [3], [])
    assert ledger.release("nobody", 0, 1) == ([], 0)


def test_the_next_pass_begins_with_the_first_session_that_nobody_began() -> None:
    plan = dry_plan(dataclasses.replace(load_scenario("multi_turn_conversation"), requests=25, turns=5), 1)
    nothing = Ledger(plan, {})
    nothing.add("a", [0, 1])
    nothing.time_is_up("a", received=0, cut=[])
    assert (nothing.first_unsent(otherwise=5), nothing.planned()) == (0, 0)
    all_of_it = Ledger(plan, {})
    all_of_it.add("a", [0, 1])
    all_of_it.release("a", 0, 2)
    all_of_it.time_is_up("a", received=2, cut=[])
    assert (all_of_it.first_unsent(otherwise=2), all_of_it.planned()) == (2, 10)
