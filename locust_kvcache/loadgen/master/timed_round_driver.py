"""Drives a round of fixed length: deals sessions as needed, and counts every request that was started in time."""

from __future__ import annotations

import time

from locust_kvcache.loadgen.master.round_driver import RoundDriver
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.protocol.messages import AboutRound, TimeUp
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.run.measured_round import MeasuredRound
from locust_kvcache.workload.endless import EndlessSessions

AHEAD_S = 4.0  # sessions for so long are dealt ahead, at the pace so far


class TimedRoundDriver(RoundDriver):
    """Each worker ends the round by its own clock and says what it has begun; after that a round ends as any other."""

    def __init__(
        self, config: RunConfig, played: MeasuredRound, workers: Workers, spawning: Spawning, timeout_s: float | None
    ) -> None:
        super().__init__(config, played, workers, spawning, timeout_s)
        self._timed_round = played
        self._dealt = len(played.sessions)
        self._told: set[str] = set()
        self._over = False

    def _wait_for_the_end(self) -> None:
        self._wait(self._time_is_up)
        self._over = True
        for worker in self._ledger.workers:
            self._ledger.withdraw(worker)
        self._timed_round.time_is_up(self._ledger.planned(), self._ledger.first_unsent(otherwise=self._dealt_next()))
        self._wait(self._all_recorded)

    def _dealt_next(self) -> int:
        return self._sessions.number(self._dealt)

    @property
    def _sessions(self) -> EndlessSessions:
        sessions = self._played.plan.sessions
        assert isinstance(sessions, EndlessSessions)
        return sessions

    def _take(self, worker: str, message: AboutRound) -> None:
        if isinstance(message, TimeUp):
            self._ledger.time_is_up(worker, message.received, message.cut)
            self._told.add(worker)
        else:
            super()._take(worker, message)

    def _time_is_up(self) -> bool:
        """All workers that are left have said so; meanwhile none runs out of sessions."""
        if not self._timed_round.all_dealt:
            self._deal_more()
        return self._ledger.workers - self._watch.lost <= self._told

    def _deal_more(self) -> None:
        """To workers that have less than half of what they may need in the next AHEAD_S."""
        timed, elapsed_s = self._timed_round.timed, time.monotonic() - self._started_s
        if timed is None or elapsed_s >= timed.round_s:
            return
        users = {worker: count for worker, count in self._users().items() if worker in self._ledger.workers - self._watch.lost}
        wanted = {worker: self._wanted(worker, count, elapsed_s) for worker, count in users.items() if count}
        low = {worker: count for worker, count in wanted.items() if self._ledger.waiting(worker) < count / 2}
        if low:
            count = sum(low.values())
            self._deal([self._sessions.number(self._dealt + place) for place in range(count)], low)
            self._dealt += count

    def _wanted(self, worker: str, users: int, elapsed_s: float) -> int:
        pace = self._ledger.released_count(worker) / max(elapsed_s, 1.0)
        return max(64, 8 * users, int(AHEAD_S * pace))

    def _withdrawn(self, worker: str) -> list[int]:
        """When the time is up nobody sends them."""
        sessions = super()._withdrawn(worker)
        return [] if self._over or worker in self._told else sessions
