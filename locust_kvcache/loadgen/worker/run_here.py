"""Holds a run as one worker process knows it: decisions of the master, prepared requests, records to send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from locust_kvcache.contract.record import OK, Record
from locust_kvcache.contract.round_kinds import WARM_UP
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.protocol.messages import BeginRun, Late, Message, WarmedUp
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.loadgen.worker.record_shipping import Shipper, Spool
from locust_kvcache.loadgen.worker.share import Share
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.warm_up import OUTPUT_TOKENS


class RunHere:
    def __init__(self, begun: BeginRun, send: Callable[[Message], None], spooled: bool) -> None:
        self.config: RunConfig = begun.config
        self.clock_offset_s = begun.clock_offset_s
        self._send = send
        self._spool = Spool(begun.config.run_id) if spooled else None
        self._shipper = Shipper(begun.config.run_id, send, self._spool)
        self._plans: dict[str, Plan] = {}
        self._prepared: dict[tuple[str, str | None, TimedRound | None], PreparedRequests] = {}  # by scenario, nonce and time
        self._warmed_up: list[list[Any]] = []

    def prepared_for(self, scenario: str, kind: str, nonce: str | None, timed: TimedRound | None = None) -> PreparedRequests:
        """The requests of a round; those of the run's own nonce (None) are kept for later rounds, others until the next nonce comes. Of a
        timed round nothing is kept.

        BadInput if the plan cannot be made here: a trace that is not on this host, or another one than the master's.
        """
        if (scenario, nonce, timed) not in self._prepared:
            self._prepared = {key: known for key, known in self._prepared.items() if key[1:] == (None, None)}
            self._prepared[scenario, nonce, timed] = self._prepare(scenario, kind, nonce, timed)
        return self._prepared[scenario, nonce, timed]

    def _prepare(self, scenario: str, kind: str, nonce: str | None, timed: TimedRound | None) -> PreparedRequests:
        config = self.config
        if scenario not in self._plans:
            self._plans[scenario] = config.plan(scenario)
        plan = self._plans[scenario]
        mine = plan if nonce is None else plan.with_nonce(nonce)
        mine = mine if timed is None else timed.plan(mine)
        target = Target.from_url(config.endpoint, config.transport)
        parts = plan.scenario.parts
        carries_answers = any(part.reply == "server" and part.turns > 1 for part in parts)  # short ones would shorten the prompts
        longest = OUTPUT_TOKENS if kind == WARM_UP and not carries_answers else None
        parameters = config.body_parameters(plan.scenario)
        return PreparedRequests(mine, target, config.model, config.api_key(), parameters, longest, config.fold_system)

    def add(self, record: Record) -> None:
        """A record to the master; of a warm-up's request, only how it ended."""
        if record.round_kind == WARM_UP:
            self._warmed_up.append([record.request_index, record.ttft_ms if record.status == OK else None])
        else:
            self._shipper.add(record)

    def ship(self, share: Share | None) -> None:
        """Send the records that are here to the master; before them, what is new of sessions that were taken late."""
        if share is not None and share.late_sessions > share.late_told:
            share.late_told = share.late_sessions
            self._send(Late(share.config.run_id, share.scenario, share.number, share.late_sessions, share.worst_late_ms))
        if share is not None and self._warmed_up:
            answered, self._warmed_up = self._warmed_up, []
            self._send(WarmedUp(share.config.run_id, share.scenario, share.number, answered))
        self._shipper.ship()

    def closed(self) -> None:
        """The master has closed the run's files: the spool has had its day."""
        if self._spool is not None:
            self._spool.remove()
