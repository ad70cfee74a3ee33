"""Keeps one run's state on the master: its rounds and records as they come, and how it ended."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from locust.env import Environment

from locust_kvcache.contract.deployment import Deployment, ModelInfo
from locust_kvcache.contract.exit_codes import ABORTED, ALERT, INCOMPLETE
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.record import LOST, OK, STOPPED
from locust_kvcache.contract.record_files import OPEN_FILE, PARQUET
from locust_kvcache.contract.round_kinds import sends_new_prompts
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.run.alerts import Alerts
from locust_kvcache.loadgen.run.beyond_certificate import limits_of_round
from locust_kvcache.loadgen.run.facts import RunFacts
from locust_kvcache.loadgen.run.folder import now_iso
from locust_kvcache.loadgen.run.foreign_load import foreign_text
from locust_kvcache.loadgen.run.late_sessions import Lateness
from locust_kvcache.loadgen.run.outcome import Outcome, outcome_of
from locust_kvcache.loadgen.run.record_parts import RecordParts
from locust_kvcache.loadgen.run.records_file import Collector
from locust_kvcache.loadgen.run.resume import Resumed, recorded_keys
from locust_kvcache.loadgen.run.round_entry import begun, ended, lost_record
from locust_kvcache.loadgen.run.run_json import first_facts
from locust_kvcache.loadgen.run.server_metrics import MetricsFile
from locust_kvcache.loadgen.server.arms import warnings_of
from locust_kvcache.loadgen.server.nvml import Nvml
from locust_kvcache.loadgen.server.preflight import Server
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")


class RunIncomplete(Exception):
    """The run cannot go on, but what it measured stays; the message is its incomplete_reason."""

    cause = INCOMPLETE


class LimitReached(RunIncomplete):
    """A limit that the user set ended the run: --round-timeout, --outage-limit."""

    cause = ABORTED


class AlertFired(RunIncomplete):
    """A rule of --abort-if."""

    cause = ALERT


class Run(RunFacts):
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
        super().__init__(folder, first_facts(environment, config, deployment, model_info, server, options, control_last))
        self.config = config
        self.deployment = deployment
        self.server = server
        self._round_facts: dict[str, Any] = {}  # what was done to the caches before the next round
        self.finished = False
        self.metrics = MetricsFile(
            folder / "server_metrics.jsonl",
            deployment.metrics,
            deployment.access,
            options.metrics_interval_s,
            Nvml() if options.nvml else None,
        )
        self.lateness = Lateness()
        self.alerts = Alerts(options.abort_if)
        self.warming_up: str | None = None  # the scenario whose warm-up is under way
        self._plans = {scenario.name: config.plan(scenario.name) for scenario in config.scenarios}
        self._resumed = resumed
        self._rounds: list[dict[str, Any]] = list(resumed.rounds) if resumed else []
        self._current: dict[str, Any] | None = None
        self._round_started_s = 0.0
        self._facts["rounds"] = self._rounds
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
            f"resumed at {now_iso()} after {len(resumed.rounds)} complete rounds; {moved} records of a cut round were set aside. "
            "What the server's caches held meanwhile is unknown"
        )

    def is_done(self, scenario: str, number: int) -> bool:
        """A round that a resumed run has behind it."""
        return self._resumed is not None and self._resumed.done(scenario, number)

    def plan(self, scenario: str) -> Plan:
        return self._plans[scenario]

    def requests_by_round(self) -> dict[tuple[str, int], int]:
        """Planned requests of each (scenario, round)."""
        return {(s.name, n): s.requests for s in self.config.scenarios for n in range(1, self.rounds_planned(s) + 1)}

    @property
    def last_wall_s(self) -> float:
        """Wall time of the last round."""
        return float(self._rounds[-1]["wall_s"])

    def sessions(self, scenario: str) -> int:
        return len(self._plans[scenario].sessions)

    def planned_text(self, scenario: Scenario) -> str:
        plan = self._plans[scenario.name]
        return f"{scenario.requests} requests in {len(plan.sessions)} sessions, {plan.prompt_tokens:,} prompt tokens"

    # -- rounds

    def note_caches(self, facts: dict[str, Any]) -> None:
        """What was done to the caches, and seen in them, before the round that comes."""
        self._round_facts = facts
        for text in warnings_of(facts):
            self.warn(text)

    def note_round(self, facts: dict[str, Any]) -> None:
        """What is to stand in the entry of the round that comes."""
        self._round_facts = {**self._round_facts, **facts}

    def begin_round(
        self, scenario: str, number: int, kind: str, nonce: str | None, users: int, planned_users: int,
        timed: TimedRound | None = None,
    ) -> None:  # fmt: skip
        self._round_started_s = time.monotonic()
        self._current = {
            **begun(scenario, number, kind, self.config.scenario(scenario).requests, users, planned_users, timed),
            **self._round_facts,
        }
        if nonce is not None:
            self._current["nonce"] = nonce
        self._round_facts = {}
        self._rounds.append(self._current)
        self._write()  # should the master die now, it is known that these prompts are no longer cold
        self.metrics.start_sampling()
        self.alerts.begin(repeats=not sends_new_prompts(kind))

    @property
    def begun_requests(self) -> int:
        """Of the timed round under way, when its time is up."""
        return int(self._current["planned_requests"] or 0) if self._current is not None else 0

    def note_time_is_up(self, requests: int, next_session: int) -> None:
        """What was begun within a timed round is what its plan was."""
        assert self._current is not None
        self._current["planned_requests"] = requests
        self._current["timed"]["next_session"] = next_session

    def note_users(self, users: int) -> None:
        """A shape has changed the users in the timed round under way."""
        if self._current is not None and self._current.get("timed"):
            steps = self._current["timed"].setdefault("users", [])
            steps.append([round(time.monotonic() - self._round_started_s, 1), users])

    def passes(self, scenario: str) -> tuple[int, int]:
        """What a timed hit round repeats of round 1: (the last whole pass of the plan, all its sessions), or what was sent of the first."""
        first = next(entry for entry in self._rounds if entry["scenario"] == scenario and entry["round"] == 1)
        whole, rest = divmod(int(first["timed"]["next_session"]), self.sessions(scenario))
        return (whole - 1, 0) if whole else (0, max(1, rest))

    def end_round(self, scenario: str, number: int, answers: list[Done], users: int, foreign: Mapping[str, int]) -> None:
        """Close a round when every worker is done: the count must match, else the run ends here. `foreign`: requests by other classes."""
        assert self._current is not None
        self.alerts.end()
        self.metrics.end_sampling(scenario, number)
        planned, seen = self._current["planned_requests"], self.collector.seen(scenario, number)
        statuses, waited_s = self.collector.statuses(scenario, number), time.monotonic() - self._round_started_s
        self._current |= ended(self._current, answers, statuses, users, waited_s)
        self._current["complete"] = len(seen) == planned and not self.collector.duplicates
        if foreign or self._facts["foreign_users"]:
            self._current["foreign_requests"] = dict(foreign)
        facts, warning = limits_of_round(answers)
        self._current |= facts
        if warning:
            self._facts["warnings"].append(f"{scenario}, round {number}: {warning}")
            log.warning("%s, round %d: %s", scenario, number, warning)
        if not self._current["complete"]:
            raise RunIncomplete(
                f"round {number} of {scenario} has {len(seen)} of {planned} records, {self.collector.duplicates} twice"
            )
        sessions = (self._current.get("timed") or {}).get("next_session") or self.sessions(scenario)
        if late := self.lateness.text(scenario, number, sessions):
            self.warn(late)
        self._current = None
        self._write()

    def record_lost(self, scenario: str, number: int, kind: str, turns: list[Turn], worker: str) -> None:
        """Give requests that a lost worker may have sent their record: never cold and never hit, as nobody knows."""
        for turn in turns:
            self.collector.add_lost(lost_record(self.config, scenario, number, kind, turn, worker))
        log.warning("worker %s is given up: %d requests that it may have sent are marked lost", worker, len(turns))

    def note_lost_worker(self) -> None:
        """In the round under way."""
        if self._current is not None:
            self._current["workers_lost"] += 1

    def watch(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Records that have come, for --abort-if."""
        self.alerts.add(time.monotonic() - self._round_started_s, records)

    def check_alerts(self) -> None:
        """AlertFired where a rule of --abort-if is broken; said in run.json."""
        seconds = time.monotonic() - self._round_started_s
        if self._current is None or (alert := self.alerts.broken(seconds)) is None:
            return
        where = {"scenario": self._current["scenario"], "round": self._current["round"], "after_s": round(seconds, 1)}
        self._facts["alert"] = {**alert.to_dict(), **where}
        raise AlertFired(f"{alert.text()} (round {where['round']} of {where['scenario']}, after {seconds:.0f} s)")

    def check_collector(self) -> None:
        if self.collector.error is not None:
            raise RunIncomplete(f"records cannot be written: {self.collector.error}; what was written before is kept")
        if self.metrics.error is not None:
            raise RunIncomplete(f"server_metrics.jsonl cannot be written: {self.metrics.error}; what was written before is kept")
        if self._write_error is not None:
            raise RunIncomplete(f"run.json cannot be written: {self._write_error}; what was written before is kept")

    def progress_text(self, scenario: str, number: int) -> str:
        statuses = self.collector.statuses(scenario, number)
        failed = statuses.total() - statuses[OK]
        planned = f"/{self.config.scenario(scenario).requests}"
        if self._current is not None and self._current.get("timed"):
            planned = f" requests of a round of {duration_text(self._current['timed']['round_s'])}"
        done = f"{statuses.total()}{planned}"
        return f"{done} ({failed} failed)" if failed else done

    def round_text(self, scenario: str, number: int) -> str:
        wall_s = self._rounds[-1]["wall_s"]
        return f"{self.progress_text(scenario, number)} in {wall_s:.2f} s"

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
        self._write()
