"""What a finished run is worth: one cause of the exit codes, and the reason that run.json gives."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.contract.exit_codes import FAILURES, INCOMPLETE, OK
from locust_kvcache.contract.failure_limit import FailureLimit, parse_failure_limit
from locust_kvcache.loadgen.run.outcome import outcome_of

NONE = FailureLimit()


def entry(**changed: Any) -> dict[str, Any]:
    return {"scenario": "s", "round": 2, "users_planned": 6, "users_at_start": 6, "users_at_end": 6, "workers_lost": 0, **changed}


def test_a_run_of_which_all_succeeded_is_complete() -> None:
    found = outcome_of([entry()], {"ok": 24}, 24, NONE, False)
    assert (found.cause, found.reason) == (OK, None)


@pytest.mark.parametrize(
    ("limit", "cause"), [("0", FAILURES), ("2", FAILURES), ("3", OK), ("12%", FAILURES), ("13%", OK)]
)  # 3 of 24 are 12.5 %: 12 % allow 2
def test_failures_are_judged_by_their_limit(limit: str, cause: Any) -> None:
    statuses = {"ok": 21, "http_error": 2, "timeout": 1}
    found = outcome_of([entry()], statuses, 24, parse_failure_limit(limit), False)
    assert found.cause is cause
    if cause is FAILURES:
        assert found.reason == f"3 of 24 requests failed (2 x http_error, 1 x timeout); --max-failures allows {limit}"


def test_lost_requests_are_forgiven_by_name_only() -> None:
    lost = {"ok": 20, "lost": 4}
    assert outcome_of([entry()], lost, 24, NONE, False).cause is INCOMPLETE
    assert outcome_of([entry()], lost, 24, NONE, True).cause is OK


def test_a_round_that_began_with_fewer_users_is_not_comparable() -> None:
    short = entry(users_at_start=3, users_at_end=3)
    for allowed in (False, True):
        found = outcome_of([short], {"ok": 24}, 24, NONE, allowed)
        assert found.cause is INCOMPLETE
        assert found.reason == "round 2 of s began with 3 of 6 users: the rounds are not comparable"


def test_a_worker_that_was_lost_in_mid_round() -> None:
    short = entry(users_at_end=3, workers_lost=1)
    assert outcome_of([short], {"ok": 24}, 24, NONE, True).cause is OK
    assert outcome_of([entry(workers_lost=1)], {"ok": 24}, 24, NONE, False).cause is OK, "it came back"
    found = outcome_of([short], {"ok": 24}, 24, NONE, False)
    assert found.reason == "a worker was lost in round 2 of s, which ended with 3 of 6 users (--allow-loss accepts that)"


def test_rounds_of_runs_of_before_say_nothing_of_users() -> None:
    assert outcome_of([{"scenario": "s", "round": 1}], {"ok": 1}, 1, NONE, False).cause is OK
