"""Evidence decides the words: for each thing that stands against a scenario, what is said first, and what is not said at all."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.cache.claims import Claim, decide
from locust_kvcache.analysis.cache.round_evidence import RoundFacts
from locust_kvcache.contract.failure_limit import FailureLimit as Limit
from locust_kvcache.contract.round_kinds import COLD, CONTROL
from locust_kvcache.contract.round_kinds import HIT as LATER

PROMPT, ALLOWED, SLACK = 100_000.0, 97_700.0, 16.0 * 24


def a_round(number: int, cached: float | None = 0.0, **more: Any) -> RoundFacts:
    facts: dict[str, Any] = {
        "kind": COLD if number == 1 else LATER, "planned": 24, "recorded": 24, "prompt_tokens": PROMPT, "cached_tokens": cached,
        "allowed_tokens": 0.0 if number == 1 else ALLOWED, "slack_tokens": SLACK,
    }  # fmt: skip
    return RoundFacts(number, **{**facts, **more})


def claim(*rounds: RoundFacts, **more: Any) -> Claim:
    return decide("s", rounds, **more)


def test_a_hit_by_evidence_is_credited_to_the_cache() -> None:
    found = claim(a_round(1), a_round(2, ALLOWED))
    assert (found.cause, found.lead, found.later) == ("ok", "", "hit")
    assert found.credited
    assert found.valid
    assert found.why_not_judged == ""


def test_nothing_hit_is_said_first_and_no_column_is_called_hit() -> None:
    found = claim(a_round(1), a_round(2, 0.0))
    assert (
        found.lead
        == "nothing hit in round 2 (0.0 % of the prompt tokens came from a cache, an ideal cache would have served 97.7 %)"
    )
    assert (found.cause, found.later, found.why_not_judged, found.verdict) == (
        "nothing hit",
        "round 2",
        "nothing hit",
        "nothing hit",
    )
    assert not found.credited
    assert found.valid


@pytest.mark.parametrize(
    ("cached", "allowed", "served"),
    [
        (3_400.0, ALLOWED, "nothing"),  # 3.4 % cached is no hit
        (3_400.0, 3_400.0, "nothing"),  # nor is it one where the plan allows no more
        (384.0, ALLOWED, "nothing"),  # a block for each of the 24 requests
        (40_000.0, ALLOWED, "less than planned"),
        (87_545.0, ALLOWED, "less than planned"),  # 90 % of 97,700 are 87,930, less 384
        (87_546.0, ALLOWED, "hit"),
        (50_000.0, 50_000.0, "hit"),
        (50_000.0, None, "hit"),
        (None, ALLOWED, "unknown"),
    ],
)
def test_a_round_is_named_by_the_share_cached_and_by_what_the_plan_allows(
    cached: float | None, allowed: float | None, served: str
) -> None:
    assert a_round(2, cached, allowed_tokens=allowed).served == served


def test_the_worst_of_the_later_rounds_decides() -> None:
    found = claim(a_round(1), a_round(2, ALLOWED), a_round(3, 0.0), a_round(4, 0.0))
    assert found.lead.startswith("nothing hit in rounds 3 and 4")
    assert found.later == "rounds 2 to 4"
    assert [served for _, served, _ in found.rounds] == ["hit", "nothing", "nothing"]


def test_less_than_planned_fails_a_gate_as_nothing_hit_does() -> None:
    found = claim(a_round(1), a_round(2, 40_000.0))
    assert found.cause == "nothing hit"
    assert found.why_not_judged.startswith("hit less than planned: 40.0 %")


def test_without_evidence_nothing_shows_that_the_cache_did_it() -> None:
    found = claim(a_round(1, None), a_round(2, None))
    assert found.lead.startswith("nothing shows whether the cache did it")
    assert (found.cause, found.credited, found.later) == ("nothing could be judged", False, "round 2")


def test_a_round_without_a_successful_request_says_nothing_of_what_the_server_reports() -> None:
    found = claim(a_round(1, 0.0), a_round(2, None, recorded=6, failed=6), limit=Limit(6))
    leads = " ".join((found.lead, *found.also))
    assert "no request of round 2 succeeded" in leads
    assert "reports no" not in leads


def test_a_round_that_never_reached_the_servers_is_not_their_caches() -> None:
    found = claim(a_round(1, seen_share=1.0), a_round(2, ALLOWED, seen_share=0.02))
    assert found.lead.startswith(
        "round 2 did not reach the servers (the servers counted 2.0 % of the prompt tokens that were sent)"
    )
    assert found.cause == "nothing hit"


def test_a_late_load_generator_is_the_gravest_and_the_rest_is_said_beside_it() -> None:
    found = claim(a_round(1), a_round(2, 0.0, late="lag P90 162.8 ms, 941 % of the median TTFT"))
    assert found.lead == "not valid: the load generator was late (round 2: lag P90 162.8 ms, 941 % of the median TTFT)"
    assert (found.cause, found.valid, found.verdict) == ("load generator late", False, "not valid")
    assert found.also[0].startswith("nothing hit in round 2")


@pytest.mark.parametrize(("failed", "limit", "cause"), [(0, Limit(), "ok"), (1, Limit(), "failures"), (1, Limit(count=1), "ok"),
                                                       (1, Limit(share=0.03), "ok"), (2, Limit(share=0.03), "failures")])  # fmt: skip
def test_failures_beyond_the_limit(failed: int, limit: Limit, cause: str) -> None:
    """3 % of the 48 planned requests are one."""
    found = claim(a_round(1), a_round(2, ALLOWED, failed=failed), limit=limit)
    assert found.cause == cause
    assert found.valid  # 2 of 24 are few


def test_most_failed() -> None:
    found = claim(a_round(1), a_round(2, ALLOWED, failed=18))
    assert found.lead == "18 of 48 planned requests failed (--max-failures: 0)"
    assert not found.valid
    assert found.why_not_judged == found.lead


def test_a_control_that_was_not_cold_is_called_so() -> None:
    """Round 1 was: "round 2 was not cold" beside "cold was cold" would read as a contradiction."""
    control = a_round(2, 40_000.0, kind=CONTROL, allowed_tokens=0.0, contaminated=True)
    found = claim(a_round(1), control, a_round(3, ALLOWED))
    assert found.lead == "the control, round 2, was not cold (40.0 % of the prompt tokens came from a cache)"


def test_rounds_that_hit_nothing_are_credited_with_nothing_beside_a_failure_too() -> None:
    """One failure of 48 is the graver cause; the change is no more the cache's for that."""
    found = claim(a_round(1), a_round(2, 0.0, failed=1))
    assert (found.cause, found.credited, found.verdict) == ("failures", False, "nothing hit")
    assert found.lead.startswith("1 of 48 planned requests failed (--max-failures: 0); nothing hit in round 2 (0.0 %")
    assert found.also == ()
    unknown = claim(a_round(1, None), a_round(2, None), complete=False)
    assert unknown.lead.startswith("the run is incomplete; nothing shows")
    assert (unknown.cause, unknown.verdict) == ("incomplete", "no sign of a hit")


def test_the_limit_of_failures_is_that_of_the_whole_run() -> None:
    """Two scenarios of 48 requests with a failure each: one may fail. Of three failures in 3 x 48, 3 % (4) are allowed."""
    rounds = [a_round(1), a_round(2, ALLOWED, failed=1)]
    both = claim(*rounds, limit=Limit(count=1), of_run=[*rounds, *rounds])
    assert (both.cause, both.lead) == ("failures", "2 of 96 planned requests failed (--max-failures: 1)")
    good = [a_round(1), a_round(2, ALLOWED)]
    worst = [a_round(1), a_round(2, ALLOWED, failed=3)]
    assert claim(*worst, limit=Limit(share=0.03), of_run=[*worst, *good, *good]).cause == "ok"


def test_rounds_at_different_loads_are_not_comparable() -> None:
    found = claim(a_round(1, users=6), a_round(2, ALLOWED, users=3))
    assert found.lead == (
        "the rounds are not comparable: they had different loads (users busy at once: 6 in round 1, 3 in round 2)"
    )
    assert (found.cause, found.valid, found.verdict) == ("not comparable", False, "not comparable")
    assert claim(a_round(1, users=6), a_round(2, ALLOWED, users=None)).cause == "ok"
    assert claim(a_round(1, users=6), a_round(2, ALLOWED, users=3), closed=False).cause == "ok"


def test_an_incomplete_run_is_not_judged() -> None:
    found = claim(a_round(1), a_round(2, ALLOWED), complete=False)
    assert (found.cause, found.why_not_judged) == ("incomplete", "the run is incomplete")


def test_a_control_round_is_no_later_round() -> None:
    found = claim(a_round(1), a_round(2, 0.0, kind=CONTROL), a_round(3, ALLOWED))
    assert (found.control, found.cause, found.later) == (2, "ok", "hit")


def test_one_round_claims_nothing() -> None:
    found = claim(a_round(1))
    assert (found.cause, found.rounds, found.later) == ("ok", (), "later rounds")


def test_a_cold_round_with_hits_of_its_own_is_said_first_and_weakens_nothing_else() -> None:
    """54,200 of 100,000 tokens: the change is smaller than against a cold round, so a target that is met is met."""
    found = claim(a_round(1, 54_200.0, contaminated=True), a_round(2, ALLOWED))
    assert found.lead == "round 1 was not cold (54.2 % of the prompt tokens came from a cache)"
    assert (found.cause, found.valid, found.credited, found.why_not_judged) == ("ok", True, True, "")
    control = a_round(3, 20_000.0, kind=CONTROL, contaminated=True)
    both = claim(a_round(1, 54_200.0, contaminated=True), a_round(2, ALLOWED), control)
    assert both.lead == "rounds 1 and 3 were not cold (up to 54.2 % of the prompt tokens came from a cache)"


@pytest.mark.parametrize(("share", "is_said"), [(1.0, False), (1.25, False), (1.54, True)])
def test_other_requests_on_the_servers_are_said_first(share: float, is_said: bool) -> None:
    found = claim(a_round(1, seen_share=1.0), a_round(2, ALLOWED, seen_share=share))
    lead = "other requests shared the servers in round 2 (they counted 154 % of the prompt tokens that were sent)"
    assert found.lead == (lead if is_said else "")
    assert (found.cause, found.valid) == ("ok", True)


def test_tokens_of_failed_requests_are_no_other_traffic() -> None:
    """6 of 24 failed: 18 requests sent 100,000 tokens, and the server counted those of all 24, 133 %."""
    assert not a_round(1, seen_share=1.33, failed=6).shared
    assert a_round(1, seen_share=1.7, failed=6).shared
    assert not a_round(1, seen_share=1.7, failed=24).shared
