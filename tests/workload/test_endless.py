"""An endless plan repeats a finite one: same lengths and sharing in each pass, texts of each pass its own or the same."""

from __future__ import annotations

from locust_kvcache.workload.endless import EndlessSessions, endless
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.text import KINDS

CALIBRATION = Calibration(dict.fromkeys(KINDS, 1.3), {}, 0.0, 20.0, 8.0, "assumed")


def one_pass(name: str, requests: int) -> Plan:
    return make_plan(load_scenario(name).with_requests(requests), CALIBRATION, "cafe0001", 1)


def test_numbers_go_on_from_pass_to_pass() -> None:
    plan = one_pass("multi_turn_conversation", 10)
    count = len(plan.sessions)
    more = endless(plan)
    for session in range(count):
        first, third = more.sessions[session], more.sessions[2 * count + session]
        assert first == plan.sessions[session]
        assert [t.request_index for t in third.turns] == [t.request_index + 20 for t in first.turns]
        assert list(more.requests_of(third.session_id)) == [t.request_index for t in third.turns]
        assert [t.prompt_tokens for t in third.turns] == [t.prompt_tokens for t in first.turns]
        assert [t.shares_prefix_with for t in third.turns] == [
            None if t.shares_prefix_with is None else t.shares_prefix_with + 20 for t in first.turns
        ]


def test_texts_of_each_pass_are_its_own_or_the_same() -> None:
    plan = one_pass("cold_start", 3)
    fresh, same = endless(plan), endless(plan, first_pass=1, fresh=False)
    texts = [fresh.prefix_message(fresh.sessions[n]) for n in (0, 3, 6)]
    assert texts[0] == plan.prefix_message(plan.sessions[0])
    assert len({text[:6] for text in texts}) == 3  # from the first characters on
    assert all("cafe0001" in text for text in texts)
    assert [same.prefix_message(same.sessions[n]) for n in (0, 3, 6)] == [texts[1]] * 3
    assert same.user_message(same.sessions[6].turns[0]) == fresh.user_message(fresh.sessions[3].turns[0])
    assert len({fresh.sessions[n].prefix_id for n in (0, 3, 6)}) == 3  # kept texts are told apart by it


def test_a_part_of_each_pass() -> None:
    """Round 1 got through two of three sessions: these are sent again, and keep their numbers within a pass."""
    sessions = endless(one_pass("cold_start", 3), sent=2, fresh=False).sessions
    assert isinstance(sessions, EndlessSessions)
    assert [sessions.number(place) for place in range(5)] == [0, 1, 3, 4, 6]
    assert [sessions.place(number) for number in (0, 1, 3, 4, 6)] == list(range(5))


def test_tenants_keep_their_own_texts() -> None:
    plan = one_pass("two_tenants", 10)
    more = endless(plan)
    count = len(plan.sessions)
    assert more.scenario_of(count).name == plan.scenario_of(0).name
    assert more.names(count) != more.names(0)
    assert more.user_message(more.sessions[count].turns[0]) != plan.user_message(plan.sessions[0].turns[0])
