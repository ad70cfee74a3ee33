"""Describes one measured round to the round driver: which sessions are sent, and what the run keeps."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from locust_kvcache.contract.record import OK
from locust_kvcache.contract.round_kinds import CONTROL
from locust_kvcache.loadgen.console import Progress, console
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.protocol.run_config import pause
from locust_kvcache.loadgen.protocol.timed import TimedRound, timed_due_s
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.endless import EndlessSessions
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache.detail")
FIRST_SESSIONS, FIRST_PER_USER = 1024, 4  # of a timed round in a closed loop, dealt before it begins


@dataclass(frozen=True)
class MeasuredRound:
    run: Run
    of: Scenario
    number: int
    kind: str
    nonce: str | None  # of its prompts; None: the run's own
    arrival: Arrival | None  # in place of the run's own
    ttft_ms: Callable[[str, int], float | None] = lambda scenario, number: None  # the mean so far
    begun: Callable[[int], None] = lambda number: None  # is told when the load begins
    timed: TimedRound | None = None

    @property
    def scenario(self) -> str:
        return self.of.name

    @property
    def title(self) -> str:
        return f"round {self.number}{' (control)' if self.kind == CONTROL else ''}"

    @cached_property
    def plan(self) -> Plan:
        plan = self.run.plan(self.scenario)
        plan = plan if self.nonce is None else plan.with_nonce(self.nonce)
        return plan if self.timed is None else self.timed.plan(plan)

    @cached_property
    def sessions(self) -> Sequence[int]:
        """Those that are dealt before the round begins."""
        sessions = self.plan.sessions
        if not isinstance(sessions, EndlessSessions):
            return range(self.run.sessions(self.scenario))
        due = self._due_sessions
        count = max(FIRST_SESSIONS, FIRST_PER_USER * (self.run.users or 0)) if due is None else due
        return array("i", map(sessions.number, range(count)))

    @cached_property
    def _due_sessions(self) -> int | None:
        """Open loop: sessions that are due within a timed round."""
        if self.timed is None:
            return None
        config = self.run.config
        due_s = timed_due_s(self.arrival or config.arrival, self.timed.round_s, f"{config.seed}/{self.scenario}/arrivals", pause)
        return None if due_s is None else len(due_s)

    @property
    def all_dealt(self) -> bool:
        """No session comes after `sessions`."""
        return self.timed is None or self._due_sessions is not None

    @property
    def requests(self) -> int:
        return self.of.requests if self.timed is None else self.run.begun_requests

    def time_is_up(self, requests: int, next_session: int) -> None:
        """Of a timed round: so many requests were begun; `next_session` is the first that nobody began."""
        self.run.note_time_is_up(requests, next_session)

    def begin(self, users: int, planned_users: int) -> None:
        self.run.metrics.border(self.scenario, self.number, "before")
        planned = self.run.planned_text(self.of) if self.timed is None else f"{duration_text(self.timed.round_s)} round"
        log.info("%s: %s starts, %s", self.scenario, self.title, planned)
        self.run.begin_round(self.scenario, self.number, self.kind, self.nonce, users, planned_users, self.timed)
        self.begun(self.number)

    def seen(self) -> Set[int]:
        """The requests that have their record."""
        return self.run.collector.seen(self.scenario, self.number)

    @property
    def _named(self) -> str:
        planned = self.run.rounds_planned(self.of)
        counted = planned >= self.number and self.title[-1].isdigit()
        return f"{self.scenario}, {self.title} of {planned}" if counted else f"{self.scenario}, {self.title}"

    def progress(self, elapsed_s: float) -> Progress:
        statuses = self.run.collector.statuses(self.scenario, self.number)
        failed = statuses.total() - statuses[OK]
        ttft_ms, round_s = self.ttft_ms(self.scenario, self.number), self.timed.round_s if self.timed else None
        planned = self.of.requests if self.timed is None else 0
        return Progress(self._named, planned, statuses.total(), failed, elapsed_s, ttft_ms, round_s)

    def worker_lost(self) -> None:
        self.run.note_lost_worker()

    def lost(self, turns: list[Turn], worker: str) -> None:
        self.run.record_lost(self.scenario, self.number, self.kind, turns, worker)

    def check(self) -> None:
        """RunIncomplete where nothing can be kept any more."""
        self.run.check_collector()
        self.run.check_alerts()

    def warn(self, text: str) -> None:
        self.run.warn(text)

    def end(self, answers: list[Done], users: int, foreign: Mapping[str, int]) -> None:
        self.run.metrics.border(self.scenario, self.number, "after")
        self.run.end_round(self.scenario, self.number, answers, users, foreign)
        self.check()
        console().end(self.progress(self.run.last_wall_s))
        log.info("%s: %s done, %s", self.scenario, self.title, self.run.round_text(self.scenario, self.number))
