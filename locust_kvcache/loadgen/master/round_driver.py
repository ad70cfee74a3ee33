"""Plays one round: deals and releases sessions, replaces lost workers, and ends when every planned request has its record."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence, Set

from gevent.event import Event

from locust_kvcache.contract.outage_words import UNREACHABLE
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.master.ledger import Ledger, deal
from locust_kvcache.loadgen.master.played import Played
from locust_kvcache.loadgen.master.silence import Silence
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.worker_watch import Change, WorkerWatch
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.protocol.messages import (
    BACK,
    TOO_LONG,
    AboutRound,
    BeginRun,
    Deal,
    Done,
    EndRound,
    Flushed,
    Go,
    Message,
    Ready,
    Refused,
    Release,
    ServerGone,
    Want,
)
from locust_kvcache.loadgen.protocol.run_config import RunConfig, pause
from locust_kvcache.loadgen.run.endings import LimitReached, RunIncomplete
from locust_kvcache.workload.steps import in_pieces

DONE_TIMEOUT_S = 5.0


class RoundDriver:
    """Guards one round's ledger."""

    def __init__(
        self,
        config: RunConfig,
        played: Played,
        workers: Workers,
        spawning: Spawning,
        timeout_s: float | None,
    ) -> None:
        self._config = config
        self._played = played
        self._workers = workers
        self._spawning = spawning
        self._users = spawning.by_worker
        self._timeout_s = timeout_s
        self._news = Event()
        self._deals = 0
        self._ready: dict[str, tuple[int, int]] = {}  # worker -> (deal it has prepared, sessions it wants at once)
        self._last_deal: dict[str, int] = {}  # worker -> number of its last deal
        self._done: dict[str, Done] = {}
        self._watch = WorkerWatch(workers)
        self._handed_back: list[int] = []
        self._started = False
        self._started_s = 0.0
        self._unreachable: str | None = None  # the server, for longer than --outage-limit
        self._silence = Silence()
        self._refused: str | None = None  # why a worker cannot take part
        self._ledger = Ledger(played.plan, {})

    # -- messages; run in the loop that answers heartbeats, so nothing here blocks

    def on_message(self, worker: str, message: Message) -> None:
        if isinstance(message, Flushed):
            self._handed_back += self._ledger.hand_back(worker, message.unsent)
        elif isinstance(message, AboutRound):
            if (message.scenario, message.round) != (self._played.scenario, self._played.number):
                return
            self._take(worker, message)
        self._news.set()

    def _take(self, worker: str, message: AboutRound) -> None:
        match message:
            case Refused(reason=reason):
                self._refused = f"worker {self._workers.name(worker)} cannot prepare its requests: {reason}"
            case ServerGone():
                self._outage(worker, message)
            case Ready(deal=number, want=want):
                self._ready[worker] = (number, want)
            case Want(have=have, count=count):
                self._release(Release, worker, have, count)
            case Done():
                self._done[worker] = message

    def _outage(self, worker: str, message: ServerGone) -> None:
        """A pause is said in the run when it is over: the round's wall time holds it."""
        self._silence.note(worker, message)
        text = f"{UNREACHABLE}{self._workers.name(worker)} for {message.seconds:.1f} s in {self._where()}"
        if message.state == BACK:
            self._played.warn(f"{text}, the round paused: {message.error}")
        elif message.state == TOO_LONG:
            self._unreachable = f"{text} (--outage-limit): {message.error}"

    @property
    def _about(self) -> tuple[str, str, int]:
        return self._config.run_id, self._played.scenario, self._played.number

    def _release(self, release: type[Release], worker: str, have: int, count: int) -> None:
        sessions, rest = self._ledger.release(worker, have, count)
        self._workers.send(worker, release(*self._about, have, sessions, rest))

    # -- the round

    def run(self) -> None:
        """Deal, wait until all is prepared, go, wait until every planned request has its record."""
        users = self._users()
        self._deal(self._played.sessions, users)
        self._wait(self._all_ready)
        self._played.begin(sum(users.values()), self._spawning.planned)
        self._started, self._started_s = True, time.monotonic()
        self._silence.begin()
        console().begin()
        for worker, (_, want) in list(self._ready.items()):
            self._release(Go, worker, 0, want)
        self._wait_for_the_end()
        answers = self._collect_answers()
        worked = [answer for worker, answer in answers.items() if self._ledger.released_count(worker)]
        foreign = sum((Counter(answer.foreign_requests) for answer in answers.values()), Counter())
        self._played.end(worked, sum(self._users().values()), foreign)

    def _wait_for_the_end(self) -> None:
        self._wait(self._all_recorded)

    def _deal(self, sessions: Sequence[int], users: dict[str, int]) -> None:
        """Give sessions to workers in proportion to their users; in mid-round, to those that are in the round."""
        played = self._played
        able = {worker: count for worker, count in users.items() if worker not in self._watch.lost}
        if self._started:
            able = {worker: count for worker, count in able.items() if worker in self._ledger.workers}
        if not any(able.values()):
            raise RunIncomplete(f"no worker with users is left in {self._where()}")
        self._deals += 1
        for worker, share in deal(len(sessions), able).items():
            if self._started and not share:
                continue
            ids = array("i", in_pieces(map(sessions.__getitem__, share), pause))
            self._ledger.add(worker, ids)
            self._last_deal[worker] = self._deals
            self._workers.send(worker, BeginRun(self._config, self._workers.clock_offset_s(worker)))
            self._workers.send(
                worker,
                Deal(*self._about, ids, self._deals, played.arrival, played.kind, played.nonce, played.timed),
            )

    def _all_ready(self) -> bool:
        return all(self._ready.get(worker, (0, 0))[0] >= number for worker, number in self._last_deal.items())

    def _all_recorded(self) -> bool:
        return len(self._played.seen()) >= self._played.requests

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until `condition`; meanwhile lost workers are replaced, progress is told, and a time limit is kept."""
        begun_s = time.monotonic()
        while not condition():
            self._news.wait(0.2)
            self._news.clear()
            self._played.check()
            if self._refused is not None:
                raise RunIncomplete(self._refused)
            if self._unreachable is not None:
                raise LimitReached(self._unreachable)
            self._check_workers()
            now_s = time.monotonic()
            if self._timeout_s is not None and now_s - begun_s > self._timeout_s and not condition():
                raise LimitReached(self._stragglers())
            self._silence.note_done(len(self._seen()))
            if self._started and console().is_due:
                console().show(self._silence.said_in(self._played.progress(now_s - self._started_s)))

    def _collect_answers(self) -> dict[str, Done]:
        """How the round went on each worker; one that does not say so in time is left out."""
        asked = self._ledger.workers - self._watch.lost
        for worker in asked:
            self._workers.send(worker, EndRound(*self._about))
        deadline_s = time.monotonic() + DONE_TIMEOUT_S
        while asked & set(self._workers.connected()) - self._done.keys() and time.monotonic() < deadline_s:
            self._news.wait(0.1)
            self._news.clear()
        return {worker: self._done[worker] for worker in asked if worker in self._done}

    # -- loss

    def _check_workers(self) -> None:
        """Deal again what a silent worker was not given yet; of a lost one count what it was given as possibly sent."""
        for worker, change in self._watch.changes(self._ledger.workers, self._started):
            match change:
                case Change.BACK:
                    self._played.warn(
                        f"worker {self._workers.name(worker)} is back in {self._where()}; its times of that period may be wrong"
                    )
                case Change.SILENT:
                    self._replace(worker)
                case Change.LOST:
                    self._give_up(worker)
        if self._handed_back:
            sessions, self._handed_back = self._handed_back, []
            self._deal(sessions, self._users())

    def _where(self) -> str:
        return f"{self._played.title} of {self._played.scenario}"

    def _seen(self) -> Set[int]:
        return self._played.seen()

    def _replace(self, worker: str) -> None:
        sessions = self._withdrawn(worker)
        self._last_deal.pop(worker, None)
        self._played.worker_lost()
        open_turns = len(self._ledger.open_turns(worker, self._seen()))
        self._played.warn(
            f"worker {self._workers.name(worker)} was lost in {self._where()}: {len(sessions)} sessions that it had not begun go to "
            f"other workers, {open_turns} requests may have been sent"
        )
        if sessions:
            self._deal(sessions, self._users())

    def _withdrawn(self, worker: str) -> list[int]:
        """What a lost worker cannot have sent, for others to send."""
        return self._ledger.withdraw(worker)

    def _give_up(self, worker: str) -> None:
        self._workers.give_up(worker)
        self._silence.forget(worker)
        turns = self._ledger.open_turns(worker, self._seen())
        self._played.lost(turns, self._workers.name(worker))
        self._news.set()

    def _stragglers(self) -> str:
        """Who keeps the barrier shut, and with what."""
        if not self._all_ready():
            late = [worker for worker, number in self._last_deal.items() if self._ready.get(worker, (0, 0))[0] < number]
            text = ", ".join(self._workers.name(worker) for worker in late) + " did not prepare its requests"
        else:
            seen = self._seen()
            has = {worker: self._ledger.still_has(worker, seen) for worker in sorted(self._ledger.workers)}
            text = ", ".join(f"{self._workers.name(worker)} still has {count} requests" for worker, count in has.items() if count)
        return f"{self._where()} was not done within --round-timeout {self._timeout_s:g} s: {text}"
