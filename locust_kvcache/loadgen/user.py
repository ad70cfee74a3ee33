"""Defines KVCacheUser, the base class of all scenario users: it takes sessions from the plan and streams their turns."""

from __future__ import annotations

import time
from dataclasses import dataclass

import gevent
from locust import User, constant
from locust.env import Environment

import locust_kvcache.loadgen.plugin  # noqa: F401  registers options and listeners, as Locust plugins do
from locust_kvcache.contract.record import INTERNAL_ERROR
from locust_kvcache.contract.round_kinds import WARM_UP
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.slices import slices
from locust_kvcache.loadgen.client.sse import EventReader
from locust_kvcache.loadgen.client.stream import StreamOutcome, StreamStopped, send_stream
from locust_kvcache.loadgen.worker.agent import Agent
from locust_kvcache.loadgen.worker.finishing import EndedRequest, Sender
from locust_kvcache.loadgen.worker.outage import UNREACHABLE
from locust_kvcache.loadgen.worker.session_run import SessionRun
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.plan import Turn


@dataclass
class Link:
    """A connection that is made when it is first needed."""

    connection: Connection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


class KVCacheUser(User):
    """Drives one scenario.

    A subclass names it and calls `run_next_session` from its task:

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

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._sender = Sender()
        self._link = Link()
        self._free_links: list[Link] = []  # of branches that have ended
        self._is_idle = False  # waits for a session

    def stop(self, force: bool = False) -> bool:
        """A user that waits for a session has nothing to end: with -s Locust would wait for it all that time."""
        return bool(super().stop(force or self._is_idle))

    def on_stop(self) -> None:
        for link in (self._link, *self._free_links):
            link.close()

    def run_next_session(self) -> None:
        """Run one session of the plan, turn by turn; blocks while no round is under way."""
        agent: Agent = self.environment.kv_agent
        self._is_idle = True
        try:
            work = agent.next_session()
        finally:
            self._is_idle = False
        if work is None:
            return
        run = SessionRun(work.session, work.begun)
        try:
            if work.share.timed is not None:
                work.share.begun[work.session.session_id] = run.begun
            if work.due_s is not None:
                work.share.sleep(max(0.0, work.due_s - time.monotonic()))
            branches = [gevent.spawn(self._run_branch, agent, work, run, lane) for lane in run.lanes if lane]
            try:
                self._run_lane(agent, work, run, 0, self._link)
                gevent.joinall(branches)
            finally:
                gevent.killall(branches, exception=StreamStopped)
        finally:
            agent.session_ended(work, run.begun)
        self._sender.obey()

    def _run_branch(self, agent: Agent, work: Assignment, run: SessionRun, lane: int) -> None:
        """A branch of a fork, on a connection of its own."""
        link = self._free_links.pop() if self._free_links else Link()
        try:
            self._run_lane(agent, work, run, lane, link)
        finally:
            self._free_links.append(link)

    def _run_lane(self, agent: Agent, work: Assignment, run: SessionRun, lane: int, link: Link) -> None:
        """The turns of a lane, one after another, each after those that it waits for. A warm-up does not think."""
        try:
            for turn in run.lanes[lane]:
                run.wait_for(turn)
                if turn.number > 1 and not agent.halted:
                    work.share.sleep(0.0 if work.share.kind == WARM_UP else turn.wait_s)
                run.wait_for_branch(turn)
                agent.outage.wait()
                if agent.halted or not work.share.may_begin() or (lane and self._sender.order is not None):
                    return
                if lane == 0:
                    self._sender.obey()
                run.begun.add(turn.number)
                prepared = work.share.prepared
                outcome = StreamOutcome(prepared.asked_tokens(turn), reader=EventReader(counts_of=prepared.target.counts_of))
                run.sends(turn, outcome)
                self._run_turn(agent, work, turn, outcome, link)
                run.ended(turn)
                if lane == 0:
                    self._sender.obey()
        finally:
            run.lane_over(lane)

    def _run_turn(self, agent: Agent, work: Assignment, turn: Turn, outcome: StreamOutcome, link: Link) -> None:
        """Send one planned request. However it ends, it gets exactly one record, at once where the next request carries its answer."""
        started_at_s, started_s = time.time() - agent.clock_offset_s, time.monotonic()
        try:
            self._send(work, turn, outcome, link)
        except Exception as error:
            outcome.fail(INTERNAL_ERROR, agent.errors.tell(error, "sending a request"))
            link.close()
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

    def _send(self, work: Assignment, turn: Turn, outcome: StreamOutcome, link: Link) -> None:
        slices().turn()
        prepared, config = work.share.prepared, work.share.config
        request = prepared.request(work.session, turn)
        if request is None:
            outcome.fail("skipped", "an earlier turn gave no answer to carry")
            return
        if link.connection is None:
            link.connection = Connection(prepared.target, config.idle_timeout_s)
        send_stream(link.connection, request, config.request_timeout_s, outcome)
        prepared.session_headers.remember(work.session, turn, outcome.response.headers)
