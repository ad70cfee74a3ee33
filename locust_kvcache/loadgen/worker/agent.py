"""The worker's side of a round: the master's deal comes in, users pull sessions from it without asking anybody, records go out in batches.

Lives in every process that runs users (a Locust worker, or the only process).
"""

from __future__ import annotations

import gc
import logging
import socket
import time
from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Queue
from locust.env import Environment
from locust.runners import WorkerRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.client.connection import Target
from locust_kvcache.loadgen.client.request_bodies import PreparedRequests
from locust_kvcache.loadgen.client.stream import StreamStopped
from locust_kvcache.loadgen.protocol.arrivals import Arrival, due_times_s
from locust_kvcache.loadgen.protocol.client_certificate import certified_chunks_per_s
from locust_kvcache.loadgen.protocol.code_fingerprint import fingerprint
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.worker.loop_lag import LagMonitor
from locust_kvcache.loadgen.worker.record_shipping import Shipper, Spool
from locust_kvcache.loadgen.worker.request_record import ErrorLog
from locust_kvcache.loadgen.worker.share import Assignment, Round

log = logging.getLogger("kvcache")
SHIP_INTERVAL_S = 0.5
ASK_INTERVAL_S = 0.1
ASK_AGAIN_S = 2.0  # a release that was lost on its way is asked for again


def _no_collections() -> None:
    """Collect now and not while streams are open: with 600 of them a full collection stops the process for 20 to 40 ms. The measured
    path leaves no cycles behind (tests/loadgen/client/test_stream.py), so memory does not grow without it."""
    gc.collect()
    gc.freeze()
    gc.disable()


class Agent:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        runner: Any = environment.runner
        self._runner = runner
        self.config: RunConfig | None = None
        self.clock_offset_s = 0.0  # how far this host's wall clock is ahead of the master's
        self.lag = LagMonitor()
        self.errors = ErrorLog()
        self._unknown_fields: set[str] = set()
        self._prepared: dict[str, PreparedRequests] = {}
        self._round: Round | None = None
        self._queue: Queue = Queue()
        self._low = Event()  # few released sessions are left
        self._waiting = 0
        self._open: set[gevent.Greenlet] = set()
        self._halted = False
        self._shipper = Shipper(self._send, None)
        self._started = False
        register = self._runner.register_message
        self._files = fingerprint()  # now: what this process has loaded
        register("kv_hello", self._on_hello)
        register("kv_clock", self._on_clock)
        register("kv_run", self._on_run)
        register("kv_deal", self._on_deal, concurrent=True)
        register("kv_go", self._on_go)
        register("kv_release", self._on_release)
        register("kv_end", self._on_end, concurrent=True)
        register("kv_halt", self._on_halt, concurrent=True)
        register("kv_finished", self._on_finished)

    # -- messages from the master; the ones that take time run in a greenlet of their own

    def _send(self, kind: str, **data: Any) -> None:
        self._runner.send_message(kind, {"run_id": self.config.run_id if self.config else None, **data})

    def _current(self, msg: Any) -> Round | None:
        """The round under way, if the message is about it."""
        dealt = self._round
        if dealt is None or msg.data["run_id"] != dealt.config.run_id:
            return None
        return dealt if (dealt.scenario, dealt.number) == (msg.data["scenario"], msg.data["round"]) else None

    def _on_hello(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._send("kv_files", files=self._files)

    def _on_clock(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._send("kv_time", at_s=time.time())

    def _on_run(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Sent before each round, so that a worker that joined late knows the run too; the first one of a run counts."""
        if self.config is not None and self.config.run_id == msg.data["run_id"]:
            return
        told = dict(msg.data)
        self.clock_offset_s = told.pop("clock_offset_s")
        self.config = RunConfig.from_message(told)
        self._prepared, self._round = {}, None
        self._shipper = Shipper(self._send, Spool(self.config.run_id) if isinstance(self._runner, WorkerRunner) else None)
        self.lag.start()
        if not self._started:
            self._started = True
            gevent.spawn(self._ship_regularly)
            gevent.spawn(self._ask_regularly)

    def _prepared_for(self, name: str) -> PreparedRequests:
        config = self.config
        assert config is not None
        if name not in self._prepared:
            plan = config.plan(name)
            self._prepared[name] = PreparedRequests(
                plan,
                Target.from_url(config.endpoint, config.transport),
                config.model,
                config.api_key(),
                config.body_parameters(plan.scenario),
            )
        return self._prepared[name]

    def _on_deal(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Make this worker's share ready: all text is made and encoded before any stream is open.

        A second deal in the same round brings what a lost worker did not send; only that is prepared beside open streams.
        """
        if self.config is None or msg.data["run_id"] != self.config.run_id:
            return
        name, number = msg.data["scenario"], msg.data["round"]
        try:
            prepared = self._prepared_for(name)
        except BadInput as error:  # a trace that is not here, or another one than the master's
            self._send("kv_refused", scenario=name, round=number, reason=str(error))
            return
        for index in msg.data["sessions"]:
            prepared.prepare(prepared.plan.sessions[index])
        dealt = self._current(msg)
        if dealt is None:
            seed_key = f"{self.config.seed}/{name}/arrivals"
            arrival = Arrival(**msg.data["arrival"]) if msg.data["arrival"] else self.config.arrival
            by_trace = prepared.plan.due_s if arrival.kind == "trace" else None
            due_s = by_trace or due_times_s(arrival, len(prepared.plan.sessions), seed_key)
            dealt = self._round = Round(self.config, name, number, prepared, due_s, window=max(4, 2 * self._runner.user_count))
            _no_collections()
        dealt.add(msg.data["sessions"])
        self._send("kv_ready", scenario=name, round=number, deal=msg.data["deal"], want=dealt.wanted(0))
        self._low.set()

    def _on_go(self, environment: Environment, msg: Any, **_: Any) -> None:
        dealt = self._current(msg)
        if dealt is None or self._halted:
            return
        dealt.started_s = dealt.last_end_s = time.monotonic()
        dealt.started_at_s = time.time() - self.clock_offset_s
        self._on_release(environment, msg)

    def _on_release(self, environment: Environment, msg: Any, **_: Any) -> None:
        dealt = self._current(msg)
        if dealt is None or self._halted:
            return
        for session in dealt.take_release(msg.data["start"], msg.data["sessions"], msg.data["rest"], self._waiting):
            self._queue.put(Assignment(dealt, session))

    def _ask_regularly(self) -> None:
        """Ask for releases ahead of need, so that no user waits for the master; a greenlet of its own, as sending may block."""
        while True:
            self._low.wait(ASK_INTERVAL_S)
            self._low.clear()
            dealt, now_s = self._round, time.monotonic()
            if dealt is None or not dealt.started_s or self._halted:
                continue
            if dealt.asked_s is not None and now_s - dealt.asked_s < ASK_AGAIN_S:
                continue
            if count := dealt.wanted(self._queue.qsize()):
                dealt.asked_s = now_s
                self._send("kv_want", scenario=dealt.scenario, round=dealt.number, have=dealt.received, count=count)

    # -- what users call

    @property
    def worker(self) -> str:
        return f"{socket.gethostname()}#{getattr(self._runner, 'worker_index', 0)}"

    def next_session(self) -> Assignment | None:
        """The next session of the round under way; blocks at the barrier between rounds. None: the test is stopping."""
        if self._halted:
            gevent.sleep(0.1)
            return None
        dealt = self._round
        if dealt is not None and dealt.dealt and dealt.started_s and self._queue.qsize() <= dealt.window // 2:
            self._low.set()
            if dealt.due_s is None and self._queue.empty() and dealt.starved_since_s is None:
                dealt.starved_since_s = time.monotonic()
        self._waiting += 1
        try:
            assignment: Assignment | None = self._queue.get()
        finally:
            self._waiting -= 1
        if assignment is not None:
            self._open.add(gevent.getcurrent())
            if assignment.due_s is not None:
                assignment.round.note_taken(assignment.due_s)
        return assignment

    def session_ended(self, work: Assignment, turns_begun: int) -> None:
        """A user is through with a session. One that Locust stopped half-way hands the turns it did not begin to another user."""
        self._open.discard(gevent.getcurrent())
        if not self._halted and turns_begun < len(work.session.turns):
            self._queue.put(Assignment(work.round, work.session, first_turn=turns_begun + 1))

    @property
    def halted(self) -> bool:
        return self._halted

    def finish(self, dealt: Round, record: Record) -> None:
        """Take the one record of a planned request; when nothing else is open, records leave at once: the barrier may wait for them."""
        self._shipper.add(record)
        dealt.last_end_s = time.monotonic()
        dealt.chunks += record.chunks or 0
        dealt.open_requests -= 1
        if dealt.open_requests == 0:
            gevent.spawn(self._ship)  # the send may block, and the caller is a user

    def note_unknown_field(self, name: str) -> None:
        """Say once that output came in a field that is not known; it was counted as output that is not visible."""
        if name not in self._unknown_fields:
            self._unknown_fields.add(name)
            log.warning(
                "answers carry output in the unknown field %r; it counts as output that is not visible, as reasoning does", name
            )

    # -- records to the master

    def _ship(self) -> None:
        dealt, more = self._round, {}
        if dealt is not None and dealt.late_sessions:
            more["late"] = [dealt.scenario, dealt.number, dealt.late_sessions, dealt.worst_late_ms]
        self._shipper.ship(**more)

    def _ship_regularly(self) -> None:
        while True:
            gevent.sleep(SHIP_INTERVAL_S)
            self._ship()

    def _on_end(self, environment: Environment, msg: Any, **_: Any) -> None:
        """The master has every record of the round and asks how it went here."""
        dealt = self._current(msg)
        if dealt is None:
            return
        gc.enable()
        wall_s = dealt.last_end_s - dealt.started_s
        self._send(
            "kv_done",
            scenario=dealt.scenario,
            round=dealt.number,
            wall_s=wall_s,
            started_at_s=dealt.started_at_s,
            chunks_per_s=dealt.chunks / wall_s if wall_s > 0 else 0.0,
            certified_chunks_per_s=certified_chunks_per_s(),
            starved_s=dealt.starved_s,
        )

    def _on_finished(self, environment: Environment, msg: Any, **_: Any) -> None:
        """The master has closed the run's files: the spool has had its day."""
        if self._shipper.spool is not None and self.config is not None and msg.data["run_id"] == self.config.run_id:
            self._shipper.spool.remove()

    # -- stopping

    def resume(self) -> None:
        """A new test starts: users block at the barrier again until the master deals."""
        self._halted = False
        self._round = None

    def _on_halt(self, environment: Environment, msg: Any, **_: Any) -> None:
        self.halt(msg.data["stop_timeout_s"])

    def halt(self, stop_timeout_s: float) -> None:
        """Take up nothing more, give open streams `stop_timeout_s` to end, end the rest, and hand over every record."""
        unsent: list[int] = []
        if not self._halted:
            self._halted = True
            gc.enable()
            while not self._queue.empty():
                work = self._queue.get()
                if work is not None and work.round is self._round and work.first_turn == 1:
                    unsent.append(work.session.session_id)
            for _ in range(self._waiting):
                self._queue.put(None)
            self._wait_for_open(stop_timeout_s)
            for greenlet in list(self._open):
                # not kill(): it forgets the greenlet's arguments, by which Locust counts and later stops its users
                gevent.get_hub().loop.run_callback(greenlet.throw, StreamStopped)
            self._wait_for_open(2.0)
        self._ship()
        self._send("kv_flushed", unsent=unsent)

    def _wait_for_open(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline_s:
            gevent.sleep(0.02)
