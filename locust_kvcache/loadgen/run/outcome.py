"""Decides how a finished run ends: one cause of the exit codes, and a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.exit_codes import FAILURES, INCOMPLETE, OK, Cause
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.failure_words import listed
from locust_kvcache.contract.record import LOST
from locust_kvcache.contract.record import OK as SUCCEEDED


@dataclass(frozen=True)
class Outcome:
    """`reason` is run.json's incomplete_reason; None where every planned request succeeded, but for what the limit allows."""

    cause: Cause = OK
    reason: str | None = None


def outcome_of(
    rounds: Iterable[Mapping[str, Any]],
    statuses: Mapping[str, int],
    planned: int,
    limit: FailureLimit,
    allow_loss: bool,
    causes: Mapping[str, int] | None = None,
) -> Outcome:
    """Of a run whose rounds were all played. `statuses` counts the records of all rounds, `causes` says why they failed."""
    lost = statuses.get(LOST, 0)
    if lost and not allow_loss:
        return Outcome(INCOMPLETE, f"{lost} requests are lost with their worker (--allow-loss accepts that)")
    for entry in rounds:
        if text := _unequal(entry, allow_loss):
            return Outcome(INCOMPLETE, text)
    failed = sum(count for status, count in statuses.items() if status not in (SUCCEEDED, LOST))
    if not limit.allows(failed, planned):
        by_status = Counter({status: n for status, n in statuses.items() if status not in (SUCCEEDED, LOST)})
        named = listed(causes or dict(by_status.most_common()))
        return Outcome(FAILURES, f"{failed} of {planned} requests failed ({named}); --max-failures allows {limit}")
    return Outcome()


def _unequal(entry: Mapping[str, Any], allow_loss: bool) -> str | None:
    """Why a round had not the load that was asked for; a worker that was lost in mid-round is forgiven by --allow-loss."""
    where = f"round {entry['round']} of {entry['scenario']}"
    planned, begun, ended = (entry.get(key) for key in ("users_planned", "users_at_start", "users_at_end"))
    if planned is not None and begun is not None and begun < planned:
        return f"{where} began with {begun} of {planned} users: the rounds are not comparable"
    gone = planned is not None and ended is not None and ended < planned  # one that came back has lost nothing
    if entry.get("workers_lost") and gone and not allow_loss:
        return f"a worker was lost in {where}, which ended with {ended} of {planned} users (--allow-loss accepts that)"
    return None
