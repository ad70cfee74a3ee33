"""A run as one process that runs users knows it: what the master decided, the requests made ready for it, the records on their way."""

from __future__ import annotations

from collections.abc import Callable

from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.client.connection import Target
from locust_kvcache.loadgen.protocol.messages import BeginRun, Late, Message
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.loadgen.worker.record_shipping import Shipper, Spool
from locust_kvcache.loadgen.worker.share import Share


class RunHere:
    def __init__(self, begun: BeginRun, send: Callable[[Message], None], spooled: bool) -> None:
        self.config: RunConfig = begun.config
        self.clock_offset_s = begun.clock_offset_s
        self._send = send
        self._spool = Spool(begun.config.run_id) if spooled else None
        self._shipper = Shipper(begun.config.run_id, send, self._spool)
        self._prepared: dict[str, PreparedRequests] = {}

    def prepared_for(self, scenario: str) -> PreparedRequests:
        """BadInput if the plan cannot be made here: a trace that is not on this host, or another one than the master's."""
        if scenario not in self._prepared:
            config, plan = self.config, self.config.plan(scenario)
            target = Target.from_url(config.endpoint, config.transport)
            parameters = config.body_parameters(plan.scenario)
            self._prepared[scenario] = PreparedRequests(plan, target, config.model, config.api_key(), parameters)
        return self._prepared[scenario]

    def add(self, record: Record) -> None:
        self._shipper.add(record)

    def ship(self, share: Share | None) -> None:
        """Send the records that are here to the master; before them, what is new of sessions that were taken late."""
        if share is not None and share.late_sessions > share.late_told:
            share.late_told = share.late_sessions
            self._send(Late(share.config.run_id, share.scenario, share.number, share.late_sessions, share.worst_late_ms))
        self._shipper.ship()

    def closed(self) -> None:
        """The master has closed the run's files: the spool has had its day."""
        if self._spool is not None:
            self._spool.remove()
