"""Describes one measured round to the round driver: which sessions are sent, and what the run keeps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from locust_kvcache.contract.record import OK
from locust_kvcache.contract.round_kinds import CONTROL
from locust_kvcache.loadgen.console import Progress, console
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache.detail")


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

    @property
    def scenario(self) -> str:
        return self.of.name

    @property
    def title(self) -> str:
        return f"round {self.number}{' (control)' if self.kind == CONTROL else ''}"

    @property
    def plan(self) -> Plan:
        plan = self.run.plan(self.scenario)
        return plan if self.nonce is None else plan.with_nonce(self.nonce)

    @property
    def sessions(self) -> Sequence[int]:
        return range(self.run.sessions(self.scenario))

    @property
    def requests(self) -> int:
        return self.of.requests

    def begin(self, users: int, planned_users: int) -> None:
        self.run.metrics.border(self.scenario, self.number, "before")
        log.info("%s: %s starts, %s", self.scenario, self.title, self.run.planned_text(self.of))
        self.run.begin_round(self.scenario, self.number, self.kind, self.nonce, users, planned_users)
        self.begun(self.number)

    def seen(self) -> Set[int]:
        """The requests that have their record."""
        return self.run.collector.seen(self.scenario, self.number)

    @property
    def _named(self) -> str:
        planned = self.run.rounds_planned(self.of)
        return f"{self.scenario}, {self.title}" + (
            f" of {planned}" if planned >= self.number and self.title[-1].isdigit() else ""
        )

    def progress(self, elapsed_s: float) -> Progress:
        statuses = self.run.collector.statuses(self.scenario, self.number)
        failed = statuses.total() - statuses[OK]
        return Progress(self._named, self.requests, statuses.total(), failed, elapsed_s, self.ttft_ms(self.scenario, self.number))

    def worker_lost(self) -> None:
        self.run.note_lost_worker()

    def lost(self, turns: list[Turn], worker: str) -> None:
        self.run.record_lost(self.scenario, self.number, self.kind, turns, worker)

    def check(self) -> None:
        """RunIncomplete where nothing can be kept any more."""
        self.run.check_collector()

    def warn(self, text: str) -> None:
        self.run.warn(text)

    def end(self, answers: list[Done], users: int, foreign: Mapping[str, int]) -> None:
        self.run.metrics.border(self.scenario, self.number, "after")
        self.run.end_round(self.scenario, self.number, answers, users, foreign)
        self.check()
        console().end(self.progress(self.run.last_wall_s))
        log.info("%s: %s done, %s", self.scenario, self.title, self.run.round_text(self.scenario, self.number))
