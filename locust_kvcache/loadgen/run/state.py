"""Keeps one run's state on the master: it begins or is resumed, its files are watched, and it ends with a cause."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

from locust.env import Environment

from locust_kvcache.contract.deployment import Deployment, ModelInfo
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.record import LOST, OK, STOPPED
from locust_kvcache.contract.record_files import OPEN_FILE, PARQUET
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.run.endings import RunIncomplete
from locust_kvcache.loadgen.run.folder import now_iso
from locust_kvcache.loadgen.run.foreign_load import foreign_text
from locust_kvcache.loadgen.run.outcome import Outcome, outcome_of
from locust_kvcache.loadgen.run.record_parts import RecordParts
from locust_kvcache.loadgen.run.records_file import Collector
from locust_kvcache.loadgen.run.resume import Resumed, recorded_keys
from locust_kvcache.loadgen.run.rounds import RunRounds
from locust_kvcache.loadgen.run.run_json import first_facts
from locust_kvcache.loadgen.run.server_metrics import MetricsFile
from locust_kvcache.loadgen.server.nvml import Nvml
from locust_kvcache.loadgen.server.preflight import Server

log = logging.getLogger("kvcache")


class Run(RunRounds):
    """One run: what run.json says of it, its rounds, its records, and how it ended."""

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        config: RunConfig,
        deployment: Deployment,
        model_info: ModelInfo | None,
        server: Server,
        options: Options,
        control_last: bool,
        resumed: Resumed | None = None,
    ) -> None:
        facts = first_facts(environment, config, deployment, model_info, server, options, control_last)
        nvml = Nvml() if options.nvml else None
        file, interval_s = folder / "server_metrics.jsonl", options.metrics_interval_s
        metrics = MetricsFile(file, deployment.metrics, deployment.access, interval_s, nvml)
        super().__init__(folder, facts, config, options, metrics, resumed)
        self.deployment = deployment
        self.server = server
        self.finished = False
        self.warming_up: str | None = None  # the scenario whose warm-up is under way
        if resumed is not None:
            self._take_over(resumed)
        records = folder / OPEN_FILE
        parts = RecordParts(folder) if options.records_format == PARQUET else None
        self.collector = Collector(records, recorded_keys(records) if resumed else None, parts)
        self._write()

    def _take_over(self, resumed: Resumed) -> None:
        """Resume an interrupted run in its folder: its complete rounds stay, the rest is set aside."""
        resumed.check_same(self._facts)
        moved = resumed.set_aside()
        self._facts["started_at"] = resumed.facts["started_at"]
        self._facts["nonce_given"] = resumed.facts.get("nonce_given", self._facts["nonce_given"])
        self._facts["warm_up"] = resumed.facts.get("warm_up") or []
        self._facts["warnings"] = list(dict.fromkeys([*resumed.facts["warnings"], *self._facts["warnings"]]))
        self.warn(
            f"resumed at {now_iso()} with {len(resumed.rounds)} of its rounds complete; {moved} records of an interrupted round were "
            "set aside. "
            "The state of the server's caches is unknown"
        )

    def check_collector(self) -> None:
        if self.collector.error is not None:
            raise RunIncomplete(f"records cannot be written: {self.collector.error}; what was written before is kept")
        if self.metrics.error is not None:
            raise RunIncomplete(f"server_metrics.jsonl cannot be written: {self.metrics.error}; what was written before is kept")
        if self._write_error is not None:
            raise RunIncomplete(f"run.json cannot be written: {self._write_error}; what was written before is kept")

    # -- the end

    def stopped_reason(self) -> str:
        if self._current is None:
            return f"stopped in the warm-up of {self.warming_up}" if self.warming_up else "stopped between rounds"
        name, number = self._current["scenario"], self._current["round"]
        return f"stopped in round {number} of {name} ({self.progress_text(name, number)})"

    def statuses(self) -> Counter[str]:
        """How the requests of all rounds ended."""
        return sum((self.collector.statuses(entry["scenario"], entry["round"]) for entry in self._rounds), start=Counter[str]())

    def close_whole_round(self) -> None:
        """The test is stopped as the last record of the round under way is here: nothing of that round is missing."""
        if (entry := self._current) is None:
            return
        scenario, number = entry["scenario"], entry["round"]
        whole = len(self.collector.seen(scenario, number)) == entry["planned_requests"] and not self.collector.duplicates
        if whole and not self.collector.statuses(scenario, number)[STOPPED]:
            self.end_round(scenario, number, [], entry["users_at_start"], {})

    @property
    def all_played(self) -> bool:
        """Every round that was planned is there as a whole."""
        whole = sum(bool(entry["complete"]) for entry in self._rounds)
        return whole == sum(map(self.rounds_planned, self.config.scenarios))

    def outcome(self, limit: FailureLimit, allow_loss: bool) -> Outcome:
        """Of a run whose rounds were all played."""
        planned = sum(entry["planned_requests"] or 0 for entry in self._rounds)
        return outcome_of(self._rounds, self.statuses(), planned, limit, allow_loss, self.collector.causes())

    def finish(self, outcome: Outcome) -> None:
        self.finished = True
        if self._current is not None:
            self.metrics.end_sampling(self._current["scenario"], self._current["round"])
        if self.collector.late_records:
            self.warn(f"{self.collector.late_records} records came after their worker was given up; they stay marked lost")
        if foreign := foreign_text(self._rounds, self._facts["foreign_users"]):
            self.warn(foreign)
        self.collector.close()
        if self.collector.parts_as_lines:
            self.warn(
                f"{self.collector.parts_as_lines} parts of the records stay as lines (records.d/*.jsonl), which are read as well"
            )
        if self._current is not None:
            seen = self.collector.seen(self._current["scenario"], self._current["round"])
            self._current |= {"records": len(seen), "wall_s": time.monotonic() - self._round_started_s}
            if self._current["planned_requests"] is None:  # a timed round, cut before its end
                self._current["planned_requests"] = len(seen)
        statuses = self.statuses()
        self._facts |= {
            "complete": outcome.reason is None,
            "incomplete_reason": outcome.reason,
            "cause": outcome.cause.name,
            "failed_requests": statuses.total() - statuses[OK],
            "lost_requests": statuses[LOST],
            "ended_at": now_iso(),
        }
        self._write_last()
