"""Keeps the rounds of a run on the master: what each was planned to be, what was seen of it, and its entry in run.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from locust_kvcache.contract.record import OK
from locust_kvcache.contract.round_kinds import sends_new_prompts
from locust_kvcache.loadgen.durations import duration_text
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.protocol.run_config import RunConfig
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.run.alerts import Alerts
from locust_kvcache.loadgen.run.beyond_certificate import limits_of_round
from locust_kvcache.loadgen.run.endings import AlertFired, RunIncomplete
from locust_kvcache.loadgen.run.facts import RunFacts
from locust_kvcache.loadgen.run.late_sessions import Lateness
from locust_kvcache.loadgen.run.records_file import Collector
from locust_kvcache.loadgen.run.resume import Resumed
from locust_kvcache.loadgen.run.round_entry import begun, ended, lost_record
from locust_kvcache.loadgen.run.server_metrics import MetricsFile
from locust_kvcache.loadgen.server.arms import warnings_of
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")


class RunRounds(RunFacts):
    """The rounds of one run; of a resumed one, those that it has behind it come first."""

    collector: Collector

    def __init__(
        self,
        folder: Path,
        facts: dict[str, Any],
        config: RunConfig,
        options: Options,
        metrics: MetricsFile,
        resumed: Resumed | None,
    ) -> None:
        super().__init__(folder, facts)
        self.config = config
        self.metrics = metrics
        self.lateness = Lateness()
        self.alerts = Alerts(options.abort_if)
        self._plans = {scenario.name: config.plan(scenario.name) for scenario in config.scenarios}
        self._resumed = resumed
        self._round_facts: dict[str, Any] = {}  # what was done to the caches before the next round
        self._rounds: list[dict[str, Any]] = list(resumed.rounds) if resumed else []
        self._current: dict[str, Any] | None = None
        self._round_started_s = 0.0
        self._facts["rounds"] = self._rounds

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
