"""Turns ended requests into records, and tells Locust of them, when the loop has time: the next request does not wait for it.

A request whose answer a later turn carries is finished at once. All others wait in order, and take turns of the event loop that
sockets and sends have left over (client/slices.py). Where a worker is so busy that nothing is left over, users finish what waits.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from locust.env import Environment

from locust_kvcache.contract.record import OK, Record
from locust_kvcache.contract.round_kinds import WARM_UP
from locust_kvcache.loadgen.client.slices import slices
from locust_kvcache.loadgen.client.stream import StreamOutcome, finish_outcome
from locust_kvcache.loadgen.worker.logged_once import UnknownFields
from locust_kvcache.loadgen.worker.record_hook import LOCUST_ORDERS
from locust_kvcache.loadgen.worker.request_record import internal_error_record, make_record
from locust_kvcache.loadgen.worker.share import Assignment
from locust_kvcache.workload.turn import Turn

if TYPE_CHECKING:
    from locust_kvcache.loadgen.worker.agent import Agent

DRAIN_S = 30.0
MOST_WAITING = 500  # ended requests; a worker with more of them is overloaded, and its memory must not grow for hours
log = logging.getLogger("kvcache")


class RequestFailed(Exception):
    """A failed request as Locust lists it: the error class first, so that equal failures count together."""


@dataclass(eq=False)
class Sender:
    """What a user is told of its own requests: an order (such as StopUser) that a listener raised, to be raised in the user."""

    order: BaseException | None = None

    def obey(self) -> None:
        order, self.order = self.order, None
        if order is not None:
            raise order


@dataclass(frozen=True, eq=False)
class EndedRequest:
    """A request that has ended, its answer still unread."""

    work: Assignment
    turn: Turn
    outcome: StreamOutcome
    sender: Sender
    started_at_s: float  # when it was sent, by the master's wall clock
    ended_s: float  # monotonic
    elapsed_ms: float  # connecting and waiting included
    loop_lag_ms: float | None


class Finisher:
    def __init__(self, environment: Environment, agent: Agent) -> None:
        self._environment: Any = environment
        self._agent = agent
        self._waiting: deque[EndedRequest] = deque()
        self._arrived = Event()
        self._open = 0
        self._greenlet: gevent.Greenlet | None = None
        self._unknown_fields = UnknownFields()

    def later(self, ended: EndedRequest) -> None:
        self._open += 1
        self._waiting.append(ended)
        self._arrived.set()
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._finish_for_ever)
        while len(self._waiting) > MOST_WAITING:
            self._finish_first()

    def drain(self) -> None:
        """Blocks until all that has ended is finished, for DRAIN_S at most."""
        deadline_s = time.monotonic() + DRAIN_S
        while self._open and time.monotonic() < deadline_s:
            gevent.sleep(0.005)
        if self._open:
            log.warning(
                "%d ended requests have no record after %g s: a listener of record_finished or request blocks",
                self._open,
                DRAIN_S,
            )

    def _finish_for_ever(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                slices().turn(later=True)
                if self._waiting:  # users may have finished them meanwhile
                    self._finish_first()

    def _finish_first(self) -> None:
        try:
            self.now(self._waiting.popleft())
        except Exception as error:  # whoever finishes must live: all requests that end after it wait for it
            self._agent.errors.tell(error, "finishing a request")
        finally:
            self._open -= 1

    def now(self, ended: EndedRequest) -> None:
        """Read the answer, hand over the record, and keep the answer for later turns; if one fails, that is what the record says."""
        agent, work, turn, outcome = self._agent, ended.work, ended.turn, ended.outcome
        prepared, reader = work.share.prepared, outcome.reader
        try:
            finish_outcome(outcome)
            record = make_record(work, turn, agent.worker, outcome, ended.started_at_s, ended.loop_lag_ms, ended.ended_s)
            if outcome.status == OK:
                carries = prepared.carries_answers(turn.session_id)
                reply, all_visible = (outcome.reply, all(chunk.visible for chunk in outcome.chunks)) if carries else ("", True)
                prepared.remember(turn, record.round, reply, reader.prompt_tokens, reader.output_tokens, all_visible)
            agent.finish(work.share, record, ended.ended_s)
        except Exception as error:
            told = agent.errors.tell(error, "recording a request")
            record = internal_error_record(work, turn, agent.worker, told)
            agent.finish(work.share, record, ended.ended_s)
        if work.share.timed is not None and turn is work.session.turns[-1]:
            prepared.forget(work.session)
        if reader.unknown_field:
            self._unknown_fields.tell(reader.unknown_field)
        try:
            self._tell_locust(record, ended.elapsed_ms)
        except LOCUST_ORDERS as order:
            ended.sender.order = order

    def _tell_locust(self, record: Record, elapsed_ms: float) -> None:
        """One request in Locust's statistics; TTFT and TPOT as rows of their own that leave its totals alone. Listeners of a user's own
        may fail: that is logged, and costs no record. A warm-up's request is in none of it."""
        if record.round_kind == WARM_UP:
            return
        name = f"{record.scenario} r{record.round:02d}"
        ok = record.status == OK
        self._environment.events.request.fire(
            request_type="POST",
            name=name,
            response_time=record.e2e_ms if ok else elapsed_ms,
            response_length=record.response_bytes or 0,
            exception=None if ok else RequestFailed(f"{record.status}: {record.error}"),
            context={"record": record},
        )
        for row, value in (("TTFT", record.ttft_ms), ("TPOT", record.tpot_ms)):
            if ok and value is not None:
                self._environment.stats.get(name, row).log(value, 0)
        self._environment.events.record_finished.fire(environment=self._environment, record=record)
