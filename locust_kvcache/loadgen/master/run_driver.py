"""The master's hands in a run: runs are opened, their rounds played with what lies between them, and closed.

What comes next is decided by who drives it: a plain run's scenarios and rounds (Coordinator), or a study (_studies.Study).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.master.round import RoundOnMaster
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.run_options import Options
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.run.folder import analyse
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.prepare import Looked, look_at_server, make_arms, prepare_run
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")
FLUSH_TIMEOUT_S = 5.0
EXIT_GATE = 1
EXIT_INCOMPLETE = 2
EXIT_BAD_INPUT = 3


class MasterStage:
    """One test's runs, one after another. `options` are those of the test that was started last."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self.workers = Workers(self._runner)
        self.spawning = Spawning(environment, self.workers)
        self._options: Options | None = None
        self._looked: Looked | None = None  # by a study, for all its runs
        self._flushed: set[str] = set()
        self.run: Run | None = None  # the run under way, or the last one
        self.round: RoundOnMaster | None = None
        self.live: Live | None = None  # for the web UI's tab
        self.client_metrics: Any = None  # ClientMetrics, where somebody may ask for them
        self.summary = ""  # what the analysis printed, for the very end of the console

    def reset(self) -> None:
        """A test begins; its options and first scenario are not known yet."""
        self.run, self.round, self._looked, self.summary = None, None, None, ""
        self.spawning.reset(None)

    def set_up(self, options: Options, first: Scenario) -> None:
        self._options = options
        self.spawning.reset(first)

    @property
    def running(self) -> bool:
        """A run has begun and its files are not finished."""
        return self.run is not None and not self.run.finished

    # -- a run

    def _begin(self, options: Options, scenarios: list[Scenario], users: int | None, suffix: str = "") -> Run:
        """A run that is ready for its first round; BadInput before any load is sent."""
        if other := self.workers.running_other_code():
            texts = (f"worker {self.workers.name(worker)} differs in {files}" for worker, files in other.items())
            raise BadInput(
                f"workers must run the master's code and scenarios; {'; '.join(texts)}. Bring the checkouts to one commit"
            )
        run = self.run = prepare_run(self._environment, options, scenarios, users, suffix, self._looked)
        if self._environment.web_ui is not None or self.client_metrics is not None:
            self.live = Live(run.requests_by_round())
            if self.client_metrics is not None:
                self.client_metrics.begin(run, self.live, options.arms, lambda: self._runner.user_count)
        self._compare_clocks()
        return run

    def drive(self, scenarios: list[Scenario], users: int | None) -> None:
        """A plain run: scenario after scenario, round after round. `users`: the level of a concurrency sweep, None without one."""
        options = self._options
        assert options is not None
        run = self._begin(options, scenarios, users)
        arms = make_arms(run, options)
        first = True
        for scenario in scenarios:
            numbers = [n for n in range(1, run.rounds_planned(scenario) + 1) if not run.is_done(scenario.name, n)]
            if numbers:
                self._warn_of_missing(self.spawning.switch_to(scenario))
            for number in numbers:
                if not first:
                    self._between_rounds(scenario, number, options.round_pause_s)
                first = False
                run.note_caches(arms.before(number))
                self._play(scenario, number)

    def _play(self, scenario: Scenario, number: int, arrival: Arrival | None = None) -> None:
        assert self.run is not None
        assert self._options is not None
        timeout_s = self._options.round_timeout_s
        self.round = RoundOnMaster(self.run, scenario, number, self.workers, self.spawning.by_worker, timeout_s, arrival)
        try:
            self.round.run()
        finally:
            self.round = None

    # -- what a study asks for (_studies.Stage)

    @property
    def users(self) -> int:
        return self._runner.target_user_count

    def change_users(self, users: int) -> None:
        self.spawning.change_users(users)

    def look(self, options: Options, scenarios: list[Scenario]) -> Looked:
        """The deployment and its server, looked at once for all runs of a study."""
        if self._looked is None:
            self._looked = look_at_server(self._environment, options, scenarios)
        return self._looked

    def open_run(self, options: Options, scenarios: list[Scenario], suffix: str) -> Run:
        self.look(options, scenarios)
        return self._begin(options, scenarios, None, suffix)

    def study_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        assert self.run is not None
        assert self._options is not None
        self._warn_of_missing(self.spawning.switch_to(scenario))
        self._between_rounds(scenario, number, self._options.round_pause_s)
        self.run.note_round(facts)
        self._play(scenario, number, arrival)

    def close_run(self) -> Path:
        assert self.run is not None
        self.finish(None, analysed=False)
        return self.run.folder

    # -- between rounds

    def _compare_clocks(self) -> None:
        """Start times of all records are in the master's clock, so that they can be put in order."""
        assert self.run is not None
        self.workers.compare_clocks()
        self.run.note_clocks(self.workers.clocks())

    def _warn_of_missing(self, users: int) -> None:
        if users and self.run is not None:
            self.run.warn(f"{users} of {self._runner.target_user_count} users are not there, or not where they should be")

    def _between_rounds(self, scenario: Scenario, number: int, pause_s: float) -> None:
        """No request is open: listeners may act on the caches, the server may rest, and users move to workers that have come."""
        hooks: Any = self._environment.events
        hooks.between_rounds.fire(environment=self._environment, scenario=scenario.name, next_round=number)
        gevent.sleep(pause_s)
        for worker, files in self.workers.running_other_code().items():
            assert self.run is not None
            self.run.warn(f"worker {self.workers.name(worker)} came late and gets no work: it differs in {files}")
            self.spawning.refuse(worker)
            self.workers.dismiss(worker)
        self._compare_clocks()
        self._warn_of_missing(self.spawning.settle())

    # -- workers

    def _send(self, kind: str, worker: str, **data: Any) -> None:
        assert self.run is not None
        self.workers.send(kind, worker, {"run_id": self.run.config.run_id, **data})

    def halt_workers(self) -> None:
        """Open streams end with their record, and every record is here or its time is up."""
        self._flushed = set()
        stop_timeout_s = self._environment.stop_timeout or 0.0
        for worker in self.workers.connected():
            self._send("kv_halt", worker, stop_timeout_s=stop_timeout_s)
        deadline_s = time.monotonic() + stop_timeout_s + FLUSH_TIMEOUT_S
        while set(self.workers.connected()) - self._flushed and time.monotonic() < deadline_s:
            gevent.sleep(0.05)

    def finish(self, incomplete_reason: str | None, analysed: bool = True) -> None:
        """Close the files, let the analysis speak, and set the exit code; once per run."""
        run, options = self.run, self._options
        assert run is not None
        assert options is not None
        run.finish(incomplete_reason)
        for worker in self.workers.connected():
            self._send("kv_finished", worker)
        if run.lost_requests and not options.allow_loss:
            log.error(
                "%d requests are lost with their worker: exit code %d (--allow-loss: 0)", run.lost_requests, EXIT_INCOMPLETE
            )
            self._environment.process_exit_code = EXIT_INCOMPLETE
        if incomplete_reason:
            log.error("run %s is incomplete: %s", run.config.run_id, incomplete_reason)
            self._environment.process_exit_code = EXIT_INCOMPLETE
        if not run.collector.records:
            log.error("nothing was measured; %s holds only run.json", run.folder)
            return
        if not analysed:
            return
        code, self.summary = analyse(run.folder, options.report, options.gate)
        if code and (options.gate or not incomplete_reason):
            self._environment.process_exit_code = self._environment.process_exit_code or code
        if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
            print(self.summary, flush=True)

    # -- what workers say

    def on_message(self, kind: str, worker: str, data: dict[str, Any]) -> None:
        """Must not block: it runs in the loop that answers heartbeats."""
        if kind == "kv_files":
            self.workers.note_files(worker, data["files"])
        elif kind == "kv_time":
            self.workers.note_clock(worker, data["at_s"])
        elif self.run is not None and data["run_id"] == self.run.config.run_id:
            if kind == "kv_records":
                self._take_records(self.run, worker, data)
            elif kind == "kv_flushed":
                self._flushed.add(worker)
            if self.round is not None:
                self.round.on_message(kind, worker, data)

    def _take_records(self, run: Run, worker: str, data: dict[str, Any]) -> None:
        run.collector.add(data["lines"], data["keys"])
        if self.live is not None:
            records = self.live.add(data["lines"])
            if self.client_metrics is not None:
                self.client_metrics.add(records)
        if "late" in data:
            run.lateness.note(worker, *data["late"])
