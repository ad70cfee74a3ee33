"""Makes a round's entry in run.json: as it begins, and as it ended by what the workers answered; and the records of lost requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from locust_kvcache.contract.record import LOST, OK, Record
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.workload.plan import Turn


def begun(
    scenario: str, number: int, kind: str, planned_requests: int, users: int, planned_users: int, timed: TimedRound | None = None
) -> dict[str, Any]:
    """`timed`: the requests of such a round are known when its time is up."""
    return {
        "scenario": scenario,
        "round": number,
        "kind": kind,
        "planned_requests": planned_requests if timed is None else None,
        "records": 0,
        "wall_s": None,
        "started_at_s": time.time(),
        "complete": False,
        "users_planned": planned_users,
        "users_at_start": users,
        "users_at_end": None,
        "workers_lost": 0,
        **({} if timed is None else {"timed": {**asdict(timed), "next_session": None}}),
    }


def ended(entry: dict[str, Any], answers: Sequence[Done], statuses: Counter[str], users: int, waited_s: float) -> dict[str, Any]:
    """What the entry gets when every worker is done; `waited_s`, the master's own measure, counts where no worker answered."""
    return {
        "records": statuses.total(),
        "failed_requests": statuses.total() - statuses[OK],
        "users_at_end": users,
        "wall_s": max((answer.wall_s for answer in answers), default=waited_s),
        "started_at_s": min((answer.started_at_s for answer in answers), default=entry["started_at_s"]),
        "lost_requests": statuses[LOST],
        "starved_s": max((answer.starved_s for answer in answers), default=0.0),
    }


def lost_record(config: RunConfig, scenario: str, number: int, kind: str, turn: Turn, worker: str) -> Record:
    """The master's record of a request that a lost worker may have sent: never cold and never hit, as nobody knows."""
    return Record(
        run_id=config.run_id,
        deployment=config.deployment,
        model=config.model,
        scenario=scenario,
        round=number,
        request_index=turn.request_index,
        session_id=turn.session_id,
        turn=turn.number,
        worker=worker,
        status=LOST,
        error=f"worker {worker} was lost; it may have sent this request",
        planned_prompt_tokens=turn.prompt_tokens,
        shares_prefix_with=turn.shares_prefix_with,
        round_kind=kind,
    )
