"""Defines KVCacheUser, the base class of all scenario users: it takes sessions from the plan and streams their turns."""

from __future__ import annotations

import time

import gevent
from locust import User, constant
from locust.env import Environment

import locust_kvcache.loadgen.plugin  # noqa: F401  registers options and listeners, as Locust plugins do
from locust_kvcache.contract.record import INTERNAL_ERROR
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.slices import slices
from locust_kvcache.loadgen.client.stream import StreamOutcome, send_stream
from locust_kvcache.loadgen.worker.agent import Agent
from locust_kvcache.loadgen.worker.finishing import EndedRequest, Sender
from locust_kvcache.loadgen.worker.outage import UNREACHABLE
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.plan import Turn


class KVCacheUser(User):
    """Drives one scenario. A subclass names it and calls `run_next_session` from its task:

    class ColdStart(KVCacheUser):
        scenario = "cold_start"

        @task
        def ask(self):
            self.run_next_session()
    """

    abstract = True
    drives_plan = True  # ours: counted, waited for, given sessions
    scenario = ""  # empty: whatever --scenarios names
    wait_time = constant(0)
    _connection: Connection | None = None

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._sender = Sender()

    def on_stop(self) -> None:
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def run_next_session(self) -> None:
        """Run one session of the plan, turn by turn; blocks while no round is under way."""
        agent: Agent = self.environment.kv_agent
        work = agent.next_session()
        if work is None:
            return
        begun = work.first_turn - 1
        try:
            if work.due_s is not None:
                gevent.sleep(max(0.0, work.due_s - time.monotonic()))
            for turn in work.session.turns[begun:]:
                if turn.number > 1 and not agent.halted:
                    gevent.sleep(turn.wait_s)
                agent.outage.wait()
                if agent.halted:
                    return
                begun = turn.number
                self._run_turn(agent, work, turn)
        finally:
            agent.session_ended(work, begun)

    def _run_turn(self, agent: Agent, work: Assignment, turn: Turn) -> None:
        """Send one planned request. However it ends, it gets exactly one record, at once where the next request carries its answer."""
        self._sender.obey()
        outcome = StreamOutcome(asked_tokens=work.share.prepared.asked_tokens(turn))
        started_at_s, started_s = time.time() - agent.clock_offset_s, time.monotonic()
        try:
            self._send(work, turn, outcome)
        except Exception as error:
            outcome.fail(INTERNAL_ERROR, agent.errors.tell(error, "sending a request"))
            self._close()
        finally:
            ended_s, sent_at_s = time.monotonic(), outcome.response.sent_at_s
            if sent_at_s:  # connecting came first
                started_at_s += sent_at_s - started_s
            lag_ms = agent.lag.worst_since_ms(sent_at_s)
            elapsed_ms = (ended_s - started_s) * 1000
            if outcome.status in UNREACHABLE:
                agent.note_unreachable(work.share, outcome.error or "")
            ended = EndedRequest(work, turn, outcome, self._sender, started_at_s, ended_s, elapsed_ms, lag_ms)
            if work.share.prepared.needs_answer(work.session, turn):
                agent.finisher.now(ended)
            else:
                agent.finisher.later(ended)
        self._sender.obey()

    def _send(self, work: Assignment, turn: Turn, outcome: StreamOutcome) -> None:
        slices().turn()
        prepared, config = work.share.prepared, work.share.config
        request = prepared.request(work.session, turn)
        if request is None:
            outcome.fail("skipped", "an earlier turn gave no answer to carry")
            return
        if self._connection is None:
            self._connection = Connection(prepared.target, config.idle_timeout_s)
        send_stream(self._connection, request, config.request_timeout_s, outcome)
        prepared.session_headers.remember(work.session, turn, outcome.response.headers)
