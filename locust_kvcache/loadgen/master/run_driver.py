"""Drives one run on the master: plays its rounds one after another, and closes its files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gevent
import orjson
from locust.env import Environment

from locust_kvcache.contract.exit_codes import FAILURES, INCOMPLETE, OK, Cause
from locust_kvcache.loadgen.interrupt import was_hung_up, was_interrupted
from locust_kvcache.loadgen.master.round_driver import RoundDriver
from locust_kvcache.loadgen.master.round_player import RoundPlayer
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import AboutRun, Flushed, Halt, Late, Records, RunClosed
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.open_run import make_arms
from locust_kvcache.loadgen.run.outcome import Outcome
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.server.discovery import changed_workers
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
        warmed_up: dict[str, str],
        ended: Callable[[Cause], None],
        analyse: Callable[[Path, Outcome], None],
    ) -> None:
        """`live` where somebody may look at the run while it goes on. `warmed_up`: by scenario, the run of this test that warmed up;
        `ended` is told the result of the run, `analyse` its folder when the files are closed."""
        self._environment = environment
        self._job = job
        self.run = run
        self.live = live
        self._workers = workers
        self._listener = listener
        self._ended = ended
        self._analyse = analyse
        self._flushed: set[str] = set()
        self._plain = False  # all rounds are known from the start; a study decides on them one by one
        self._player = RoundPlayer(environment, job, run, workers, spawning, warmed_up)

    @property
    def round(self) -> RoundDriver | None:
        """The one under way."""
        return self._player.round

    def users_changed(self, users: int) -> None:
        """Locust has spawned or stopped users."""
        self._player.users_changed(users)

    # -- rounds

    def play(self) -> None:
        """A plain run: scenario after scenario, round after round."""
        self._plain = True
        run, options = self.run, self._job.options
        arms = make_arms(run, self._job)
        first = True
        for scenario in run.config.scenarios:
            numbers = [n for n in range(1, run.rounds_planned(scenario) + 1) if not run.is_done(scenario.name, n)]
            if numbers:
                self._player.switch_to(scenario)
            for number in numbers:
                if not first:
                    self._player.between_rounds(scenario, number, options.round_pause_s)
                first = False
                if number == 1:
                    self._player.warm_up(scenario, arms)
                run.note_caches(arms.before(number))
                self._player.play(scenario, number, None)

    def play_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        """A round of a study: at its own arrivals, with `facts` in its entry of run.json."""
        self._player.switch_to(scenario)
        self._player.between_rounds(scenario, number, self._job.options.round_pause_s)
        if number == 1:
            self._player.warm_up_once(scenario)
        self.run.note_round(facts)
        self._player.play(scenario, number, arrival)

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
        """Locust has stopped the users, before the run was through or as its last record came."""
        self.run.close_whole_round()
        if self._plain and self.run.all_played:
            self.close()
            return
        self.finish(Outcome(INCOMPLETE, self._who_stopped() + self.run.stopped_reason()))

    def _who_stopped(self) -> str:
        if was_hung_up():
            return "the terminal was closed (SIGHUP); "
        if self._workers.connected() or was_interrupted():
            return ""
        return "every worker was lost; " if self._workers.known() else "every worker has left; "

    def leave(self) -> None:
        """Ctrl-C came twice: close the files as they are."""
        self._player.close()
        self.run.finish(
            Outcome(INCOMPLETE, f"interrupted twice, what workers had not handed over is not in it; {self.run.stopped_reason()}")
        )

    def close(self, analysed: bool = True) -> Path:
        """The run is through; its folder."""
        for text in changed_workers(self.run.deployment):
            self.run.warn(text)
        self.finish(self.run.outcome(self._job.options.max_failures, self._job.options.allow_loss), analysed)
        return self.run.folder

    def finish(self, outcome: Outcome, analysed: bool = True) -> None:
        """Close the files, say how the run ended, and let the analysis begin; once per run."""
        run = self.run
        self._player.close()
        run.finish(outcome)
        for worker in self._workers.connected():
            self._workers.send(worker, RunClosed(run.config.run_id))
        if outcome.reason:
            log.error("run %s is incomplete: %s", run.config.run_id, outcome.reason)
        forgiven = outcome.cause is FAILURES and self._environment.parsed_options.exit_code_on_error == 0  # type: ignore[union-attr]
        self._ended(OK if forgiven else outcome.cause)  # before the analysis: on Ctrl-C Locust does not wait for it
        if not run.collector.records:
            log.error("nothing was measured; %s holds only run.json", run.folder)
        elif analysed:
            self._analyse(run.folder, outcome)

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
        self._player.on_message(worker, message)

    def _take_records(self, message: Records) -> None:
        self.run.collector.add(message.lines, message.keys)
        if self.live is not None:
            records = self.live.add(message.lines)
            if self._listener is not None:
                self._listener.add(records)
        elif self.run.alerts:
            records = [orjson.loads(line) for line in message.lines]
        else:
            return
        self.run.watch(records)
