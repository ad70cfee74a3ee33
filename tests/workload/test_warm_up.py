"""The warm-up's windows (which sessions) and its rule (when it ends), against servers whose warming up is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from locust_kvcache.workload.budget import UNCALIBRATED
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.warm_up import (
    AUTO,
    WarmUp,
    Window,
    lane_is_steady,
    least_faster,
    no_faster,
    rate_per_s,
    ratio,
    window_sessions,
)


def plan_of(name: str, requests: int) -> Plan:
    return make_plan(load_scenario(name).with_requests(requests), UNCALIBRATED, "", 1)


def window(kind: str, *ttft_ms: float | None, seconds: float = 1.0) -> Window:
    return Window(kind, seconds, ttft_ms)


# -- which sessions


def test_a_window_gives_every_user_a_session_and_has_eight_requests_at_least() -> None:
    plan = plan_of("cold_start", 40)
    assert len(window_sessions(plan, 1)) == 8
    assert len(window_sessions(plan, 20)) == 20
    assert window_sessions(plan, 100) == [session.session_id for session in plan.sessions]


def test_a_window_counts_a_conversations_turns() -> None:
    plan = plan_of("multi_turn_conversation", 40)
    turns = len(plan.sessions[0].turns)
    assert len(window_sessions(plan, 1)) == -(-8 // turns)


def test_a_window_spans_the_lengths_of_the_plan() -> None:
    plan = plan_of("dose_response", 60)
    tokens = {s.session_id: sum(turn.prompt_tokens for turn in s.turns) for s in plan.sessions}
    chosen = window_sessions(plan, 6)
    assert {min(tokens.values()), max(tokens.values())} <= {tokens[session] for session in chosen}
    assert chosen == sorted(set(chosen))


def test_an_open_loop_sends_few_at_its_own_rate_or_at_once_where_that_is_slow() -> None:
    assert len(window_sessions(plan_of("cold_start", 40), None)) == 8
    assert rate_per_s(20.0, 8) == 20.0
    assert rate_per_s(0.1, 8) == pytest.approx(1.6)
    assert rate_per_s(None, 8) is None


def test_a_plan_of_one_session_is_its_own_window() -> None:
    assert window_sessions(plan_of("cold_start", 1), 4) == [0]


# -- the rule


def test_windows_are_compared_request_by_request() -> None:
    """100, 1000 against 50, 1000: the ratios are 0.5 and 1, their median 0.75; a failed request has no ratio."""
    assert ratio(window("fresh", 50.0, 1000.0, None), window("fresh", 100.0, 1000.0, 7.0)) == 0.75
    assert ratio(window("fresh", None), window("fresh", 1.0)) is None


def test_a_lane_is_steady_if_its_last_window_is_no_faster_than_the_two_before() -> None:
    steady = [window("fresh", 100.0), window("fresh", 95.0), window("fresh", 92.0)]
    assert lane_is_steady(steady)
    assert not lane_is_steady(steady[:2])
    assert not lane_is_steady([*steady, window("fresh", 80.0)])
    assert not lane_is_steady([window("fresh", 100.0), window("fresh", 94.0), window("fresh", 89.0)]), "a slow fall is one too"


def test_a_median_that_most_requests_do_not_share_is_noise() -> None:
    """Six of eight heads or more come in 14 % of cases, seven in 3.5 %: hits of 32 to 94 ms are not called a slow start."""
    before, noisy = window("fresh", *[100.0] * 8), window("fresh", *[70.0] * 6, 110.0, 118.0)
    assert ratio(noisy, before) == pytest.approx(0.7)
    assert no_faster(noisy, before)
    assert not no_faster(window("fresh", *[70.0] * 7, 118.0), before)
    assert [least_faster(count) for count in (1, 4, 8, 16, 64)] == [1, 4, 7, 12, 40]


def test_the_console_says_what_the_rule_cannot_see() -> None:
    assert "one that is even for more than 48 requests" in run(lambda n: 200.0 if n < 64 else 100.0).limit_text()
    assert run(lambda n: 200.0 if n < 24 else 100.0).limit_text() == ""
    assert run(lambda n: 100.0, wanted=20).limit_text() == ""


def run(
    effect: Callable[[int], float], size: int = 8, repeats: bool = True, wanted: str | int = AUTO, seconds: float = 1.0
) -> WarmUp:
    """A server whose n-th request (from 0) takes `effect(n)` ms."""
    warm_up = WarmUp("s", wanted, repeats)
    while warm_up.ended is None:
        first = warm_up.requests
        ttft_ms = tuple(effect(first + number) for number in range(size))
        warm_up.add(Window(warm_up.next_kind, seconds, ttft_ms))
    return warm_up


def test_a_server_that_is_steady_at_once_gets_three_windows_of_each_kind() -> None:
    found = run(lambda _: 100.0)
    assert (found.ended, found.requests) == ("steady", 48)
    assert [w.kind for w in found.windows] == ["fresh", "again"] * 3
    assert run(lambda _: 100.0, repeats=False).requests == 32


@pytest.mark.parametrize("slow", [4, 24, 40])
def test_slow_first_requests_are_over_when_it_ends(slow: int) -> None:
    found = run(lambda n: 200.0 if n < slow else 100.0)
    assert found.ended == "steady"
    assert found.requests >= slow + 24, "three windows of which none was slow stand behind it"
    assert found.to_dict()["change"] == (-0.25 if slow == 4 else -0.5), "by the first window, of which 4 or all 8 were slow"


def test_what_never_gets_steady_ends_at_a_limit() -> None:
    falling = run(lambda n: 1000.0 * 0.97**n)
    assert (falling.ended, falling.requests) == ("request limit", 208)
    slow = run(lambda n: 1000.0 * 0.97**n, seconds=50.0)
    assert (slow.ended, len(slow.windows)) == ("time limit", 3)


def test_a_wide_window_may_take_the_windows_that_the_rule_needs() -> None:
    assert run(lambda n: 1000.0 * 0.999**n, size=100).requests == 600


def test_a_number_of_requests_is_no_rule() -> None:
    found = run(lambda n: 1000.0 * 0.9**n, wanted=20)
    assert (found.ended, found.requests, found.to_dict()["rule"]) == ("asked for", 24, None)


def test_a_server_that_answers_nothing_ends_it() -> None:
    found = WarmUp("s", AUTO, True)
    found.add(window("fresh", None, None))
    assert found.ended == "nothing succeeded"
    facts = found.to_dict()
    assert (facts["requests"], facts["failed"], facts["first_median_ttft_ms"], facts["change"]) == (2, 2, None, None)


def test_what_run_json_says_of_it() -> None:
    facts = run(lambda _: 100.0).to_dict()
    assert {key: facts[key] for key in ("scenario", "wanted", "ended", "requests", "failed", "seconds", "change")} == {
        "scenario": "s", "wanted": "auto", "ended": "steady", "requests": 48, "failed": 0, "seconds": 6.0, "change": 0.0,
    }  # fmt: skip
    assert (facts["first_median_ttft_ms"], facts["last_median_ttft_ms"]) == (100.0, 100.0)
    assert facts["windows"][0] == {"kind": "fresh", "requests": 8, "failed": 0, "seconds": 1.0, "median_ttft_ms": 100.0}


def test_lengths_do_not_disturb_the_comparison() -> None:
    """Every window has the same lengths in the same order: a window of 100 to 800 ms is as steady as one of equal requests."""
    found = run(lambda n: 100.0 * (1 + n % 8))
    assert (found.ended, found.requests) == ("steady", 48)


def test_a_plan_is_not_changed_by_it() -> None:
    plan = plan_of("cold_start", 12)
    before = dataclasses.replace(plan)
    window_sessions(plan, 4)
    assert plan.sessions == before.sessions
