"""Describes one window of a warm-up to the round driver; only the TTFT of its requests is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from locust_kvcache.contract.round_kinds import WARM_UP
from locust_kvcache.loadgen.console import Progress
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.warm_up import Window


@dataclass
class WarmUpWindow:
    """`number` is 0 or below, so that no message of it is taken for one about a round."""

    run: Run
    scenario: str
    number: int
    lane: str  # fresh | again, or the arm whose tier is to answer
    nonce: str
    sessions: list[int]
    arrival: Arrival | None
    kind: str = WARM_UP
    timed: TimedRound | None = None
    _ttft_ms: dict[int, float | None] = field(default_factory=dict)  # by request_index
    _begun_s: float = 0.0

    @property
    def title(self) -> str:
        return "warm-up"

    @property
    def plan(self) -> Plan:
        return dataclasses.replace(self.run.plan(self.scenario), nonce=self.nonce)

    @property
    def _indices(self) -> list[int]:
        plan = self.run.plan(self.scenario)
        return [turn.request_index for session in self.sessions for turn in plan.sessions[session].turns]

    @property
    def requests(self) -> int:
        return len(self._indices)

    def begin(self, users: int, planned_users: int) -> None:
        self._begun_s = time.monotonic()

    def take(self, answered: list[tuple[int, float | None]]) -> None:
        """(request_index, TTFT in ms or None for a failed one) of requests that have ended."""
        self._ttft_ms |= dict(answered)

    def seen(self) -> Set[int]:
        return self._ttft_ms.keys()

    def progress(self, elapsed_s: float) -> Progress:
        answered = [ttft_ms for ttft_ms in self._ttft_ms.values() if ttft_ms is not None]
        done = len(self._ttft_ms)
        mean_ms = sum(answered) / len(answered) if answered else None
        return Progress(f"{self.scenario}, warm-up", self.requests, done, done - len(answered), elapsed_s, mean_ms)

    def worker_lost(self) -> None:
        pass

    def lost(self, turns: list[Turn], worker: str) -> None:
        self.take([(turn.request_index, None) for turn in turns])

    def check(self) -> None:
        self.run.check_collector()

    def warn(self, text: str) -> None:
        self.run.warn(text)

    def end(self, answers: list[Done], users: int, foreign: Mapping[str, int]) -> None:
        pass

    def window(self) -> Window:
        """What was seen, in plan order."""
        return Window(self.lane, time.monotonic() - self._begun_s, tuple(self._ttft_ms.get(index) for index in self._indices))
