"""The worker's side of a round: the master's deal comes in, users pull sessions from it without asking anybody, records go out in batches.

Lives in every process that runs users (a Locust worker, or the only process).
"""

from __future__ import annotations

import gc
import socket
import time
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.queue import Queue
from locust.env import Environment

from locustfiles._arrivals import due_times_s
from locustfiles._certificate import certified_chunks_per_s
from locustfiles._http import Target
from locustfiles._lag import LagMonitor
from locustfiles._requests import PreparedRequests
from locustfiles._run_config import RunConfig
from locustfiles._stream import StreamStopped
from scenarios.plan import Session
from scenarios.record import Record

SHIP_INTERVAL_S = 0.5
SHIP_RECORDS = 1000
LATE_MS = 20.0  # a session taken later than this was waiting for a user; less is the loop's own jitter


@dataclass
class Round:
    """This process's share of one round."""

    config: RunConfig
    scenario: str
    number: int
    prepared: PreparedRequests
    sessions: list[Session]
    due_s: list[float] | None  # by session_id, after the round's start
    left: int  # planned requests without a record yet
    started_s: float = 0.0  # monotonic
    started_at_s: float = 0.0  # wall clock
    last_end_s: float = 0.0
    chunks: int = 0
    late_sessions: int = 0  # open loop: no user was free when they were due
    worst_late_ms: float = 0.0

    def note_taken(self, due_s: float) -> None:
        """A user took a session; past its due time, all users were busy: the load is less open than it was asked to be."""
        late_ms = (time.monotonic() - due_s) * 1000
        if late_ms > LATE_MS:
            self.late_sessions += 1
            self.worst_late_ms = max(self.worst_late_ms, late_ms)


@dataclass(frozen=True)
class Assignment:
    round: Round
    session: Session

    @property
    def due_s(self) -> float | None:
        """When this session is due, monotonic; None in the closed loop."""
        return None if self.round.due_s is None else self.round.started_s + self.round.due_s[self.session.session_id]


def _no_collections() -> None:
    """Collect now and not while streams are open: with 600 of them a full collection stops the process for 20 to 40 ms. The measured
    path leaves no cycles behind (tests/locustfiles/test_stream.py), so memory does not grow without it."""
    gc.collect()
    gc.freeze()
    gc.disable()


class Agent:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.config: RunConfig | None = None
        self.lag = LagMonitor()
        self._prepared: dict[str, PreparedRequests] = {}
        self._round: Round | None = None
        self._queue: Queue = Queue()
        self._waiting = 0
        self._open: set[gevent.Greenlet] = set()
        self._halted = False
        self._lines: list[str] = []
        self._keys: list[list[Any]] = []
        self._shipper: gevent.Greenlet | None = None
        register = environment.runner.register_message  # type: ignore[union-attr]
        register("kv_run", self._on_run)
        register("kv_deal", self._on_deal, concurrent=True)
        register("kv_go", self._on_go)
        register("kv_halt", self._on_halt, concurrent=True)

    # -- messages from the master; the ones that take time run in a greenlet of their own

    def _send(self, kind: str, **data: Any) -> None:
        self._environment.runner.send_message(kind, {"run_id": self.config.run_id if self.config else None, **data})  # type: ignore[union-attr]

    def _on_run(self, environment: Environment, msg: Any, **_: Any) -> None:
        """Sent before each round, so that a worker that joined late knows the run too; the first one of a run counts."""
        if self.config is not None and self.config.run_id == msg.data["run_id"]:
            return
        self.config = RunConfig.from_message(msg.data)
        self._prepared, self._round = {}, None
        self._lines, self._keys = [], []
        self.lag.start()
        if self._shipper is None:
            self._shipper = gevent.spawn(self._ship_regularly)

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
        """Make this worker's share ready: all text is made and encoded before any stream is open."""
        if self.config is None or msg.data["run_id"] != self.config.run_id:
            return
        name, number = msg.data["scenario"], msg.data["round"]
        prepared = self._prepared_for(name)
        sessions = [prepared.plan.sessions[index] for index in msg.data["sessions"]]
        for session in sessions:
            prepared.prepare(session)
        seed_key = f"{self.config.seed}/{name}/arrivals"
        due_s = due_times_s(self.config.arrival, len(prepared.plan.sessions), seed_key)
        left = sum(len(session.turns) for session in sessions)
        self._round = Round(self.config, name, number, prepared, sessions, due_s, left)
        _no_collections()
        self._send("kv_ready", scenario=name, round=number)

    def _on_go(self, environment: Environment, msg: Any, **_: Any) -> None:
        dealt = self._round
        if dealt is None or self._halted or (dealt.scenario, dealt.number) != (msg.data["scenario"], msg.data["round"]):
            return
        dealt.started_s = dealt.last_end_s = time.monotonic()
        dealt.started_at_s = time.time()
        for session in dealt.sessions:
            self._queue.put(Assignment(dealt, session))
        if dealt.left == 0:
            self._round_done(dealt)

    # -- what users call

    @property
    def worker(self) -> str:
        return f"{socket.gethostname()}#{getattr(self._environment.runner, 'worker_index', 0)}"

    def next_session(self) -> Assignment | None:
        """The next session of the round under way; blocks at the barrier between rounds. None: the test is stopping."""
        if self._halted:
            gevent.sleep(0.1)
            return None
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

    def session_ended(self) -> None:
        self._open.discard(gevent.getcurrent())

    @property
    def halted(self) -> bool:
        return self._halted

    def finish(self, dealt: Round, record: Record) -> None:
        """Take the one record of a planned request; the last one of this worker's share reports the round done."""
        self._lines.append(record.to_json())
        self._keys.append([record.scenario, record.round, record.request_index, record.status])
        dealt.last_end_s = time.monotonic()
        dealt.chunks += record.chunks or 0
        dealt.left -= 1
        if dealt.left == 0:
            gevent.spawn(self._round_done, dealt)  # the send may block, and the caller is a user

    # -- records to the master

    def _ship(self) -> None:
        while self._lines:
            lines, self._lines = self._lines[:SHIP_RECORDS], self._lines[SHIP_RECORDS:]
            keys, self._keys = self._keys[:SHIP_RECORDS], self._keys[SHIP_RECORDS:]
            self._send("kv_records", lines=lines, keys=keys, **self._lateness())

    def _lateness(self) -> dict[str, Any]:
        dealt = self._round
        if dealt is None or not dealt.late_sessions:
            return {}
        return {"late": [dealt.scenario, dealt.number, dealt.late_sessions, dealt.worst_late_ms]}

    def _ship_regularly(self) -> None:
        while True:
            gevent.sleep(SHIP_INTERVAL_S)
            self._ship()

    def _round_done(self, dealt: Round) -> None:
        gc.enable()
        self._ship()
        wall_s = dealt.last_end_s - dealt.started_s
        self._send(
            "kv_done",
            scenario=dealt.scenario,
            round=dealt.number,
            wall_s=wall_s,
            started_at_s=dealt.started_at_s,
            chunks_per_s=dealt.chunks / wall_s if wall_s > 0 else 0.0,
            certified_chunks_per_s=certified_chunks_per_s(),
        )

    # -- stopping

    def resume(self) -> None:
        """A new test starts: users block at the barrier again until the master deals."""
        self._halted = False

    def _on_halt(self, environment: Environment, msg: Any, **_: Any) -> None:
        self.halt(msg.data["stop_timeout_s"])

    def halt(self, stop_timeout_s: float) -> None:
        """Deal nothing more, give open streams `stop_timeout_s` to end, end the rest, and hand over every record."""
        if not self._halted:
            self._halted = True
            gc.enable()
            while not self._queue.empty():
                self._queue.get()
            for _ in range(self._waiting):
                self._queue.put(None)
            self._wait_for_open(stop_timeout_s)
            for greenlet in list(self._open):
                greenlet.kill(StreamStopped, block=False)
            self._wait_for_open(2.0)
        self._ship()
        self._send("kv_flushed")

    def _wait_for_open(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline_s:
            gevent.sleep(0.02)
