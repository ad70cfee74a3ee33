"""Drives one run on the master: its rounds are played one after another, with what lies between them, and its files are closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gevent
from locust.env import Environment

from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.loadgen.master.round_driver import RoundDriver
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import AboutRun, Flushed, Halt, Late, Records, RunClosed
from locust_kvcache.loadgen.run.analysis_process import analyse
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.open_run import make_arms
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")
FLUSH_TIMEOUT_S = 5.0


class RecordListener(Protocol):
    """Who wants to hear of every record of every run on the master."""

    def begin(self, run: Run, live: Live, arms: tuple[str, ...]) -> None: ...

    def add(self, records: Iterable[Mapping[str, Any]]) -> None: ...


class RunDriver:
    def __init__(
        self,
        environment: Environment,
        job: Job,
        run: Run,
        workers: Workers,
        spawning: Spawning,
        live: Live | None,
        listener: RecordListener | None,
    ) -> None:
        """`live` where somebody may look at the run while it goes on."""
        self._environment = environment
        self._job = job
        self.run = run
        self.live = live
        self._workers = workers
        self._spawning = spawning
        self._listener = listener
        self._flushed: set[str] = set()
        self.round: RoundDriver | None = None  # the one under way
        self.summary = ""  # what the analysis printed
        self._compare_clocks()

    # -- rounds

    def play(self) -> None:
        """A plain run: scenario after scenario, round after round."""
        run, options = self.run, self._job.options
        arms = make_arms(run, self._job)
        first = True
        for scenario in run.config.scenarios:
            numbers = [n for n in range(1, run.rounds_planned(scenario) + 1) if not run.is_done(scenario.name, n)]
            if numbers:
                self._warn_of_missing(self._spawning.switch_to(scenario))
            for number in numbers:
                if not first:
                    self._between_rounds(scenario, number, options.round_pause_s)
                first = False
                run.note_caches(arms.before(number))
                self._play(scenario, number, None)

    def play_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        """A round of a study: at its own arrivals, with `facts` in its entry of run.json."""
        self._warn_of_missing(self._spawning.switch_to(scenario))
        self._between_rounds(scenario, number, self._job.options.round_pause_s)
        self.run.note_round(facts)
        self._play(scenario, number, arrival)

    def _play(self, scenario: Scenario, number: int, arrival: Arrival | None) -> None:
        timeout_s = self._job.options.round_timeout_s
        self.round = RoundDriver(self.run, scenario, number, self._workers, self._spawning, timeout_s, arrival)
        try:
            self.round.run()
        finally:
            self.round = None

    # -- between rounds

    def _compare_clocks(self) -> None:
        """Start times of all records are in the master's clock, so that they can be put in order."""
        self._workers.compare_clocks()
        self.run.note_clocks(self._workers.clocks())

    def _warn_of_missing(self, users: int) -> None:
        if users:
            self.run.warn(f"{users} of {self._spawning.ours} users are not there, or not where they should be")

    def _between_rounds(self, scenario: Scenario, number: int, pause_s: float) -> None:
        """No request is open: listeners may act on the caches, the server may rest, and users move to workers that have come."""
        hooks: Any = self._environment.events
        hooks.between_rounds.fire(environment=self._environment, scenario=scenario.name, next_round=number)
        gevent.sleep(pause_s)
        for worker, files in self._workers.running_other_code().items():
            self.run.warn(f"worker {self._workers.name(worker)} came late and gets no work: it differs in {files}")
            self._spawning.refuse(worker)
            self._workers.dismiss(worker)
        self._compare_clocks()
        self._warn_of_missing(self._spawning.settle())

    def users_changed(self, users: int) -> None:
        """Locust has spawned or stopped users; in mid-round that is said in the run."""
        if self.round is not None and self.run.users != users:
            self.run.warn(f"users were changed from {self.run.users} to {users} in mid-round; that round has no one load")

    # -- the end

    def halt_workers(self) -> None:
        """Open streams end with their record, and every record is here or its time is up."""
        self._flushed = set()
        stop_timeout_s = self._environment.stop_timeout or 0.0
        for worker in self._workers.connected():
            self._workers.send(worker, Halt(self.run.config.run_id, stop_timeout_s))
        deadline_s = time.monotonic() + stop_timeout_s + FLUSH_TIMEOUT_S
        while set(self._workers.connected()) - self._flushed and time.monotonic() < deadline_s:
            gevent.sleep(0.05)

    def stopped(self) -> None:
        """Locust has stopped the users before the run was through."""
        lost = "" if self._workers.connected() else "every worker was lost; "
        self.finish(lost + self.run.stopped_reason())

    def close(self, analysed: bool = True) -> Path:
        """The run is through; its folder."""
        self.finish(None, analysed)
        return self.run.folder

    def finish(self, incomplete_reason: str | None, analysed: bool = True) -> None:
        """Close the files, let the analysis speak, and set the exit code; once per run."""
        run, options = self.run, self._job.options
        run.finish(incomplete_reason)
        for worker in self._workers.connected():
            self._workers.send(worker, RunClosed(run.config.run_id))
        code = int(Exit.NOT_JUDGED)
        if run.lost_requests and not options.allow_loss:
            log.error("%d requests are lost with their worker: exit code %d (--allow-loss: 0)", run.lost_requests, code)
            self._environment.process_exit_code = code
        if incomplete_reason:
            log.error("run %s is incomplete: %s", run.config.run_id, incomplete_reason)
            self._environment.process_exit_code = code
        if not run.collector.records:
            log.error("nothing was measured; %s holds only run.json", run.folder)
        elif analysed:
            self._analyse(incomplete_reason)

    def _analyse(self, incomplete_reason: str | None) -> None:
        options = self._job.options
        code, self.summary = analyse(self.run.folder, options.report, options.gate)
        if code and (options.gate or not incomplete_reason):
            self._environment.process_exit_code = self._environment.process_exit_code or code
        if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
            print(self.summary, flush=True)

    # -- what workers say

    def on_message(self, worker: str, message: AboutRun) -> None:
        """Must not block: it runs in the loop that answers heartbeats."""
        if message.run_id != self.run.config.run_id:
            return
        match message:
            case Records():
                self._take_records(message)
            case Late():
                self.run.lateness.note(worker, message)
            case Flushed():
                self._flushed.add(worker)
        if self.round is not None:
            self.round.on_message(worker, message)

    def _take_records(self, message: Records) -> None:
        self.run.collector.add(message.lines, message.keys)
        if self.live is not None:
            records = self.live.add(message.lines)
            if self._listener is not None:
                self._listener.add(records)
