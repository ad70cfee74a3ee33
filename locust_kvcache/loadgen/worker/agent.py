"""Runs the worker's side of a run: takes the master's messages, hands sessions to users, sends records back.

Lives in every process that runs users (a Locust worker, or the only process).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Set
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import WorkerRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.options.open_files import too_few_files
from locust_kvcache.loadgen.options.processes import FORKING
from locust_kvcache.loadgen.protocol.code_fingerprint import fingerprint
from locust_kvcache.loadgen.protocol.messages import (
    AboutRound,
    AskFiles,
    AskTime,
    BeginRun,
    Deal,
    EndRound,
    Files,
    Flushed,
    Go,
    Halt,
    Ready,
    Refused,
    Release,
    RunClosed,
    ServerGone,
    Time,
)
from locust_kvcache.loadgen.worker import garbage_collection
from locust_kvcache.loadgen.worker.finishing import Finisher
from locust_kvcache.loadgen.worker.foreign_load import ForeignLoad
from locust_kvcache.loadgen.worker.logged_once import ErrorLog
from locust_kvcache.loadgen.worker.loop_lag import LagMonitor
from locust_kvcache.loadgen.worker.master_line import MasterLine
from locust_kvcache.loadgen.worker.outage import Outage
from locust_kvcache.loadgen.worker.release_asker import ReleaseAsker
from locust_kvcache.loadgen.worker.run_here import RunHere
from locust_kvcache.loadgen.worker.session_queue import SessionQueue
from locust_kvcache.loadgen.worker.share import Assignment, Share, new_share
from locust_kvcache.loadgen.worker.texts_ahead import prepare

SHIP_INTERVAL_S = 0.5


class Agent:
    def __init__(self, environment: Environment) -> None:
        runner: Any = environment.runner
        self._runner = runner
        line = MasterLine(runner)
        self._send = line.send
        self.lag = LagMonitor()
        self.errors = ErrorLog()
        self.finisher = Finisher(environment, self)
        self._host = socket.gethostname()
        self._run: RunHere | None = None
        self._share: Share | None = None
        self._sessions = SessionQueue()
        self._asker = ReleaseAsker(lambda: None if self._halted else self._share, self._sessions, self._send)
        self._foreign = ForeignLoad(environment)
        self.outage = Outage()
        self._halted = False
        self._started = False
        self._files = fingerprint()  # now: what this process has loaded
        line.listen(AskFiles, lambda _: self._send(Files(self._files, FORKING.token)))
        line.listen(AskTime, lambda _: self._send(Time(time.time())))
        line.listen(BeginRun, self._on_run)
        line.listen(Deal, self._on_deal, concurrent=True)
        line.listen(Go, self._on_go)
        line.listen(Release, self._on_release)
        line.listen(EndRound, self._on_end, concurrent=True)
        line.listen(Halt, lambda message: self.halt(message.stop_timeout_s), concurrent=True)
        line.listen(RunClosed, self._on_closed)

    # -- messages from the master; the ones that take time run in a greenlet of their own

    def _mine(self, message: AboutRound) -> Share | None:
        """The share of the round under way, if the message is about it."""
        share = self._share
        about = (message.run_id, message.scenario, message.round)
        return share if share is not None and about == (share.config.run_id, share.scenario, share.number) else None

    def _on_run(self, message: BeginRun) -> None:
        """Sent before each round, so that a worker that joined late knows the run too; the first one of a run counts."""
        run_id = message.config.run_id
        if self._run is not None and self._run.config.run_id == run_id:
            return
        self._share = None
        self._run = RunHere(message, self._send, spooled=isinstance(self._runner, WorkerRunner))
        self.lag.start()
        if not self._started:
            self._started = True
            gevent.spawn(self._ship_regularly)
            gevent.spawn(self._asker.run)

    def _on_deal(self, message: Deal) -> None:
        """Make this worker's share ready: all text is made and encoded before any stream is open.

        A second deal in the same round brings what a lost worker did not send; only that is prepared beside open streams.
        """
        run, about = self._run, (message.run_id, message.scenario, message.round)
        if run is None or message.run_id != run.config.run_id:
            return
        try:
            prepared = run.prepared_for(message.scenario, message.round_kind, message.nonce, message.timed)
        except BadInput as error:
            self._send(Refused(*about, str(error)))
            return
        if text := too_few_files(self._runner.user_count):
            self._send(Refused(*about, text))
            return
        share = self._mine(message)
        if share is None or prepared.few is None:
            prepare(prepared, message.sessions, self._runner.user_count)
        if share is None:
            share = self._share = new_share(run.config, message, prepared, self._runner.user_count)
            garbage_collection.pause()
        share.add(message.sessions)
        self._send(Ready(*about, message.deal, share.wanted(0)))
        self._asker.low.set()

    def _on_go(self, message: Go) -> None:
        share = self._mine(message)
        if share is None or self._halted:
            return
        share.started_s = share.last_end_s = time.monotonic()
        share.started_at_s = time.time() - self.clock_offset_s
        self._foreign.begin(share.config.endpoint)
        if share.timed is not None:
            gevent.spawn_later(share.timed.round_s, self._time_is_up, share)
        self._on_release(message)

    def _time_is_up(self, share: Share) -> None:
        """Of a timed round: what is open ends, nothing more begins, and the master is told what was begun."""
        if share is not self._share or self._halted:
            return
        self._sessions.clear()
        self._send(share.end_by_the_clock())

    def _on_release(self, message: Release) -> None:
        share = self._mine(message)
        if share is None or self._halted:
            return
        for session in share.take_release(message.start, message.sessions, message.rest, self._sessions.waiting):
            self._sessions.put(Assignment(share, session))

    # -- what users call

    @property
    def worker(self) -> str:
        return f"{self._host}#{getattr(self._runner, 'worker_index', 0)}"

    @property
    def clock_offset_s(self) -> float:
        """How far this host's wall clock is ahead of the master's."""
        return self._run.clock_offset_s if self._run is not None else 0.0

    def note_unreachable(self, share: Share, error: str) -> None:
        """A request could not be sent, as the server cannot be reached: the others wait."""
        if self._halted:
            return

        def tell(seconds: float, state: str, why: str) -> None:
            now = self._share or share  # the round in which it began may have ended with that request
            self._send(ServerGone(now.config.run_id, now.scenario, now.number, seconds, state, why))

        self.outage.begin(share.prepared.target, share.config.outage_limit_s, error, tell)

    @property
    def halted(self) -> bool:
        return self._halted

    def next_session(self) -> Assignment | None:
        """The next session of the round under way; blocks at the barrier between rounds. None: the test is stopping."""
        if self._halted:
            gevent.sleep(0.1)
            return None
        if self._share is not None and self._share.runs_low(len(self._sessions)):
            self._asker.low.set()
        work = self._sessions.take()
        if work is not None and work.due_s is not None:
            work.share.note_taken(work.due_s)
        return work

    def session_ended(self, work: Assignment, begun: Set[int]) -> None:
        """A user is through with a session. One that Locust stopped half-way hands the turns it did not begin to another user."""
        self._sessions.ended()
        if len(begun) == len(work.session.turns):
            work.share.begun.pop(work.session.session_id, None)
        elif not self._halted and work.share.may_begin():
            self._sessions.put(Assignment(work.share, work.session, begun=frozenset(begun)))

    def finish(self, share: Share, record: Record, ended_s: float) -> None:
        """Take the one record of a planned request; when nothing else is open, records leave at once: the barrier may wait for them."""
        if self._run is not None:
            self._run.add(record)
        share.last_end_s = max(share.last_end_s, ended_s)
        share.chunks += record.chunks or 0
        share.open_requests -= 1
        if share.open_requests == 0:
            gevent.spawn(self._ship)  # the send may block, and the caller is a user

    # -- records to the master

    def _ship(self) -> None:
        if self._run is not None:
            self._run.ship(self._share)

    def _ship_regularly(self) -> None:
        while True:
            gevent.sleep(SHIP_INTERVAL_S)
            self._ship()

    def _on_end(self, message: EndRound) -> None:
        """The master has every record of the round and asks how it went here."""
        share = self._mine(message)
        if share is None:
            return
        garbage_collection.resume()
        self._send(share.how_it_went(self._foreign.end()))

    def _on_closed(self, message: RunClosed) -> None:
        if self._run is not None and message.run_id == self._run.config.run_id:
            self._run.closed()

    # -- stopping

    def resume(self) -> None:
        """A new test starts: users block at the barrier again until the master deals."""
        self._halted = False
        self.outage.end()
        self._share = None

    def halt(self, stop_timeout_s: float) -> None:
        """Take up nothing more, give open streams `stop_timeout_s` to end, end the rest, and hand over every record."""
        unsent: list[int] = []
        if not self._halted:
            self._halted = True
            self.outage.end()
            garbage_collection.resume()
            left = self._sessions.close(stop_timeout_s)
            unsent = [w.session.session_id for w in left if w.share is self._share and not w.begun]
        self.finisher.drain()
        self._ship()
        self._send(Flushed(self._run.config.run_id if self._run is not None else "", unsent))
