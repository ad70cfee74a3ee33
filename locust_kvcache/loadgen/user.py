"""The base class of all scenario users: it takes sessions from the plan, streams each turn, and gives every turn its one record."""

from __future__ import annotations

import time

import gevent
from locust import User, constant

import locust_kvcache.loadgen.plugin  # noqa: F401  registers options and listeners, as Locust plugins do
from locust_kvcache.contract.record import OK, Record, client_was_limited, stream_timing
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.worker.agent import Agent
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.plan import Turn


class RequestFailed(Exception):
    """A failed request as Locust lists it: the error class first, so that equal failures count together."""


def make_record(agent: Agent, work: Assignment, turn: Turn, outcome: StreamOutcome, started_at_s: float) -> Record:
    """The record of a request from what was planned, what happened, and what the clocks say."""
    config, response, reader = work.round.config, outcome.response, outcome.reader
    lag_ms = None if work.due_s is None or turn.number > 1 else (response.sent_at_s - work.due_s) * 1000
    cached = reader.cached_tokens
    if cached is None and reader.prompt_tokens is not None and config.zero_cached_if_missing:
        cached = 0
    timing = stream_timing(
        response.sent_at_s, response.first_byte_at_s, reader.first_choice_at_s, outcome.chunks, reader.output_tokens
    )
    clock = "kernel" if response.kernel_stamps else "process"
    loop_lag_ms = agent.lag.worst_since_ms(response.sent_at_s)
    return Record(
        run_id=config.run_id,
        deployment=config.deployment,
        model=config.model,
        scenario=work.round.scenario,
        round=work.round.number,
        request_index=turn.request_index,
        session_id=turn.session_id,
        turn=turn.number,
        worker=agent.worker,
        started_at_s=started_at_s if response.sent_at_s else None,
        scheduled_at_s=None if lag_ms is None or not response.sent_at_s else started_at_s - lag_ms / 1000,
        schedule_lag_ms=lag_ms if response.sent_at_s else None,
        status=outcome.status,
        error=outcome.error,
        http_status=response.http_status,
        finish_reason=reader.finish_reason,
        planned_prompt_tokens=turn.prompt_tokens,
        prompt_tokens=reader.prompt_tokens,
        output_tokens=reader.output_tokens,
        planned_cached_tokens=work.round.prepared.planned_cached(
            work.session, turn, work.round.number, reader.prompt_tokens, config.block_size_tokens
        ),
        reported_cached_tokens=cached,
        shares_prefix_with=turn.shares_prefix_with,
        connect_ms=response.connect_ms,
        ttfb_ms=timing.ttfb_ms,
        first_choice_ms=timing.first_choice_ms,
        ttft_ms=timing.ttft_ms,
        ttfvt_ms=timing.ttfvt_ms,
        tpot_ms=timing.tpot_ms,
        e2e_ms=timing.e2e_ms,
        itl_p50_ms=timing.itl_p50_ms,
        itl_p99_ms=timing.itl_p99_ms,
        icl_p50_ms=timing.icl_p50_ms,
        icl_p99_ms=timing.icl_p99_ms,
        chunks=len(reader.log),
        response_bytes=response.body_bytes,
        clock=clock,
        loop_lag_ms=loop_lag_ms,
        client_limited=client_was_limited(clock, loop_lag_ms, timing.ttft_ms, timing.icl_p50_ms),
        round_kind=work.round.kind,
    )


class KVCacheUser(User):
    """Drives one scenario. A subclass names it and calls `run_next_session` from its task:

    class ColdStart(KVCacheUser):
        scenario = "cold_start"

        @task
        def ask(self):
            self.run_next_session()
    """

    abstract = True
    scenario = ""
    wait_time = constant(0)

    def on_start(self) -> None:
        self._connection: Connection | None = None

    def on_stop(self) -> None:
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
                    gevent.sleep(work.round.prepared.plan.scenario.think_time_s)
                begun = turn.number
                self._run_turn(agent, work, turn)
        finally:
            agent.session_ended(work, begun)

    def _run_turn(self, agent: Agent, work: Assignment, turn: Turn) -> None:
        """Send one planned request and record it, however it ends."""
        prepared, config = work.round.prepared, work.round.config
        outcome = StreamOutcome()
        request = prepared.request(work.session, turn)
        if self._connection is None:
            self._connection = Connection(prepared.target, config.idle_timeout_s)
        started_at_s, started_s = time.time() - agent.clock_offset_s, time.monotonic()
        try:
            if request is None:
                outcome.fail("skipped", "an earlier turn gave no answer to carry")
            else:
                stream_request(self._connection, request, config.request_timeout_s, outcome)
        finally:
            ended_s = time.monotonic()
            if outcome.response.sent_at_s:  # connecting came first
                started_at_s += outcome.response.sent_at_s - started_s
            record = make_record(agent, work, turn, outcome, started_at_s)
            agent.finish(work.round, record)
            if outcome.status == OK:
                reader = outcome.reader
                prepared.remember(turn, record.round, outcome.reply, reader.prompt_tokens, reader.output_tokens)
            self._tell_locust(record, (ended_s - started_s) * 1000)

    def _tell_locust(self, record: Record, elapsed_ms: float) -> None:
        """One request in Locust's statistics; TTFT and TPOT as rows of their own that leave its totals alone."""
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
