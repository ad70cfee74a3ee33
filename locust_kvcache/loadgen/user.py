"""The base class of all scenario users: it takes sessions from the plan, streams each turn, and gives every turn its one record."""

from __future__ import annotations

import time

import gevent
from locust import User, constant

import locust_kvcache.loadgen.plugin  # noqa: F401  registers options and listeners, as Locust plugins do
from locust_kvcache.contract.record import INTERNAL_ERROR, OK, Record
from locust_kvcache.contract.round_kinds import WARM_UP
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.worker.agent import Agent
from locust_kvcache.loadgen.worker.request_record import internal_error_record, make_record
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.plan import Turn


class RequestFailed(Exception):
    """A failed request as Locust lists it: the error class first, so that equal failures count together."""


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
                if agent.halted:
                    return
                if turn.number > 1:
                    gevent.sleep(work.share.prepared.plan.scenario.think_time_s)
                begun = turn.number
                self._run_turn(agent, work, turn)
        finally:
            agent.session_ended(work, begun)

    def _run_turn(self, agent: Agent, work: Assignment, turn: Turn) -> None:
        """Send one planned request and record it, however it ends: it has exactly one record, whatever is raised on the way."""
        outcome = StreamOutcome(asked_tokens=work.share.prepared.asked_tokens(turn))
        started_at_s, started_s = time.time() - agent.clock_offset_s, time.monotonic()
        try:
            self._send(work, turn, outcome)
        except Exception as error:
            outcome.fail(INTERNAL_ERROR, agent.errors.tell(error, "sending a request"))
            self._close()
        finally:
            ended_s = time.monotonic()
            if outcome.response.sent_at_s:  # connecting came first
                started_at_s += outcome.response.sent_at_s - started_s
            record = self._finish(agent, work, turn, outcome, started_at_s)
            self._tell_locust(record, (ended_s - started_s) * 1000)

    def _send(self, work: Assignment, turn: Turn, outcome: StreamOutcome) -> None:
        prepared, config = work.share.prepared, work.share.config
        request = prepared.request(work.session, turn)
        if request is None:
            outcome.fail("skipped", "an earlier turn gave no answer to carry")
            return
        if self._connection is None:
            self._connection = Connection(prepared.target, config.idle_timeout_s)
        stream_request(self._connection, request, config.request_timeout_s, outcome)

    def _finish(self, agent: Agent, work: Assignment, turn: Turn, outcome: StreamOutcome, started_at_s: float) -> Record:
        """Hand the request's record over, and keep its answer for later turns; if either fails, that is what the record says."""
        reader = outcome.reader
        try:
            loop_lag_ms = agent.lag.worst_since_ms(outcome.response.sent_at_s)
            record = make_record(work, turn, agent.worker, outcome, started_at_s, loop_lag_ms)
            if outcome.status == OK:
                work.share.prepared.remember(turn, record.round, outcome.reply, reader.prompt_tokens, reader.output_tokens)
            agent.finish(work.share, record)
        except Exception as error:
            told = agent.errors.tell(error, "recording a request")
            record = internal_error_record(work, turn, agent.worker, told)
            agent.finish(work.share, record)
        if reader.unknown_field:
            agent.note_unknown_field(reader.unknown_field)
        return record

    def _tell_locust(self, record: Record, elapsed_ms: float) -> None:
        """One request in Locust's statistics; TTFT and TPOT as rows of their own that leave its totals alone. Listeners of a user's own
        may fail: that is logged, and costs no record. A warm-up's request is in none of it."""
        if record.round_kind == WARM_UP:
            return
        name = f"{record.scenario} r{record.round:02d}"
        ok = record.status == OK
        self.environment.events.request.fire(
            request_type="POST",
            name=name,
            response_time=record.e2e_ms if ok else elapsed_ms,
            response_length=record.response_bytes or 0,
            exception=None if ok else RequestFailed(f"{record.status}: {record.error}"),
            context={"record": record},
        )
        for row, value in (("TTFT", record.ttft_ms), ("TPOT", record.tpot_ms)):
            if ok and value is not None:
                self.environment.stats.get(name, row).log(value, 0)
        self.environment.events.record_finished.fire(environment=self.environment, record=record)
