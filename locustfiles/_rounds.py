"""The master's side of a run: preflight, then scenario after scenario and round after round, then the files and the analysis.

Lives on the master, or in the only process. Nothing here runs per request; workers pull from what they were dealt.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from locustfiles._arrivals import Arrival
from locustfiles._barrier import RoundOnMaster
from locustfiles._check import report
from locustfiles._dispatch import Classes, scenario_of
from locustfiles._findings import ERROR, WARNING
from locustfiles._live import Live
from locustfiles._options import Options, read_options
from locustfiles._run import Run, RunIncomplete
from locustfiles._run_folder import analyse, summarise_sweep
from locustfiles._setup import Looked, load_scenarios, look_at_server, make_arms, preflight_only, prepare_run
from locustfiles._spawning import Spawning
from locustfiles._study_list import study_of
from locustfiles._workers import Workers
from scenarios.errors import BadInput
from scenarios.spec import Scenario

log = logging.getLogger("kvcache")
FLUSH_TIMEOUT_S = 5.0
EXIT_GATE = 1
EXIT_INCOMPLETE = 2
EXIT_BAD_INPUT = 3


class Coordinator:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self._workers = Workers(self._runner)
        self._options: Options | None = None
        self._scenarios: list[Scenario] = []
        self._run: Run | None = None
        self.live: Live | None = None  # for the web UI's tab
        self.client_metrics: Any = None  # ClientMetrics, where somebody may ask for them
        self._round: RoundOnMaster | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._spawning = Spawning(environment, self._workers)
        self._flushed: set[str] = set()
        self._looked: Looked | None = None  # by a study, for all its runs
        self.summary = ""  # what the analysis printed, for the very end of the console
        for kind in ("kv_ready", "kv_want", "kv_done", "kv_records", "kv_flushed", "kv_files", "kv_time"):
            self._runner.register_message(kind, self._on_message)

    # -- events of Locust

    def on_test_start(self) -> None:
        """Check what a person wrote, then let a greenlet drive the run while Locust spawns the users."""
        self._run, self._round, self.summary = None, None, ""
        self._spawning.reset(None)
        try:
            self._options = read_options(self._environment.parsed_options)  # type: ignore[arg-type]
            loaded = [scenario_of(cls) for cls in self._environment.user_classes]
            self._scenarios = load_scenarios(self._options, loaded)
            self._spawning.reset(self._scenarios[0])
        except BadInput as error:
            self._refuse(error)
            return
        self._greenlet = gevent.spawn(self._main)

    def on_spawning_complete(self) -> None:
        """Fires again when somebody edits the users in mid-round, and when a worker comes back: no new start, but no secret either."""
        if self.in_round and self._run is not None and self._run.users != self._runner.target_user_count:
            self._run.warn(
                f"users were changed from {self._run.users} to {self._runner.target_user_count} in mid-round; that round has no one load"
            )
        self._spawning.done.set()

    def on_stopping(self) -> None:
        """Locust stops the users now, whatever the reason: nothing more is dealt, and every record is fetched first."""
        driver = self._greenlet
        if driver is not None and driver is not gevent.getcurrent() and not driver.dead:
            driver.kill(block=False)
            if self._run is None:
                log.error("stopped in the preflight: nothing was measured (-t counts from the start, preflight included)")
                self._environment.process_exit_code = EXIT_INCOMPLETE
            elif not self.running:
                log.error("stopped between two levels of --concurrency, or runs of a study: those before are complete")
                self._environment.process_exit_code = EXIT_INCOMPLETE
        if self.running:
            self._halt_workers()

    def on_stopped(self) -> None:
        if self.running and self._run is not None:
            lost = "" if self._workers.connected() else "every worker was lost; "
            self._finish(lost + self._run.stopped_reason())

    @property
    def run(self) -> Run | None:
        """The run under way, or the last one."""
        return self._run

    @property
    def running(self) -> bool:
        """A run has begun and its files are not finished."""
        return self._run is not None and not self._run.finished

    @property
    def in_round(self) -> bool:
        return self._round is not None

    def wanted_classes(self) -> Classes:
        """The user classes to spawn now."""
        return self._spawning.wanted_classes()

    # -- the run

    def _main(self) -> None:
        assert self._options is not None
        try:
            if self._options.preflight_only:
                self._check_only(self._options)
                return
            study = study_of(self._options)
            if study is not None:
                self._looked = None
                self.summary = study.summarise(study.measure(self, self._options, self._scenarios))
                if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
                    print(self.summary, flush=True)
            else:
                folders = [self._level(users) for users in self._options.concurrency or (None,)]
                if self._options.concurrency:
                    self.summary = summarise_sweep(folders)
        except BadInput as error:
            self._refuse(error)
            return
        except RunIncomplete as error:
            self._halt_workers()
            self._finish(str(error))
        except gevent.GreenletExit:
            raise
        except Exception as error:
            log.exception("the run ends here, after an error of ours")
            self._environment.process_exit_code = EXIT_INCOMPLETE
            if self.running:
                with contextlib.suppress(Exception):  # whatever it is, the test must end
                    self._finish(f"internal error: {type(error).__name__}: {error}")
        finally:
            self._round = None
        self._end_test()

    def _check_only(self, options: Options) -> None:
        findings = preflight_only(self._environment, options, self._scenarios)
        self.summary = report(findings)
        if options.gate and any(finding.level in (WARNING, ERROR) for finding in findings):
            self._environment.process_exit_code = EXIT_GATE
        if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
            print(self.summary, flush=True)
        self._end_test()

    def _level(self, users: int | None) -> Path:
        """One run: all there is, or one level of a concurrency sweep, with a nonce of its own so that it has its own cold."""
        if users is not None:
            log.info("concurrency %d", users)
            self._spawning.change_users(users)
        self._drive(users)
        self._finish(None)
        assert self._run is not None
        return self._run.folder

    def _begin(self, options: Options, scenarios: list[Scenario], users: int | None, suffix: str = "") -> Run:
        """A run that is ready for its first round; BadInput before any load is sent."""
        if other := self._workers.running_other_code():
            texts = (f"worker {self._workers.name(worker)} differs in {files}" for worker, files in other.items())
            raise BadInput(
                f"workers must run the master's code and scenarios; {'; '.join(texts)}. Bring the checkouts to one commit"
            )
        run = self._run = prepare_run(self._environment, options, scenarios, users, suffix, self._looked)
        if self._environment.web_ui is not None or self.client_metrics is not None:
            self.live = Live(run.requests_by_round())
            if self.client_metrics is not None:
                self.client_metrics.begin(run, self.live, options.arms, lambda: self._runner.user_count)
        self._compare_clocks()
        return run

    def _drive(self, users: int | None) -> None:
        options = self._options
        assert options is not None
        run = self._begin(options, self._scenarios, users)
        arms = make_arms(run, options)
        first = True
        for scenario in self._scenarios:
            numbers = [n for n in range(1, run.rounds_planned(scenario) + 1) if not run.is_done(scenario.name, n)]
            if numbers:
                self._warn_of_missing(self._spawning.switch_to(scenario))
            for number in numbers:
                if not first:
                    self._between_rounds(scenario, number, options.round_pause_s)
                first = False
                run.note_caches(arms.before(number))
                self._play(scenario, number)

    def _play(self, scenario: Scenario, number: int, arrival: Arrival | None = None) -> None:
        assert self._run is not None
        assert self._options is not None
        timeout_s = self._options.round_timeout_s
        self._round = RoundOnMaster(self._run, scenario, number, self._workers, self._spawning.by_worker, timeout_s, arrival)
        try:
            self._round.run()
        finally:
            self._round = None

    # -- what a study asks for (_studies.Stage)

    @property
    def users(self) -> int:
        return self._runner.target_user_count

    def change_users(self, users: int) -> None:
        self._spawning.change_users(users)

    def look(self, options: Options, scenarios: list[Scenario]) -> Looked:
        """The deployment and its server, looked at once for all runs of a study."""
        if self._looked is None:
            self._looked = look_at_server(self._environment, options, scenarios)
        return self._looked

    def open_run(self, options: Options, scenarios: list[Scenario], suffix: str) -> Run:
        self.look(options, scenarios)
        return self._begin(options, scenarios, None, suffix)

    def study_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        assert self._run is not None
        assert self._options is not None
        self._warn_of_missing(self._spawning.switch_to(scenario))
        self._between_rounds(scenario, number, self._options.round_pause_s)
        self._run.note_round(facts)
        self._play(scenario, number, arrival)

    def close_run(self) -> Path:
        assert self._run is not None
        self._finish(None, analysed=False)
        return self._run.folder

    # -- between rounds

    def _compare_clocks(self) -> None:
        """Start times of all records are in the master's clock, so that they can be put in order."""
        assert self._run is not None
        self._workers.compare_clocks()
        self._run.note_clocks(self._workers.clocks())

    def _warn_of_missing(self, users: int) -> None:
        if users and self._run is not None:
            self._run.warn(f"{users} of {self._runner.target_user_count} users are not there, or not where they should be")

    def _between_rounds(self, scenario: Scenario, number: int, pause_s: float) -> None:
        """No request is open: listeners may act on the caches, the server may rest, and users move to workers that have come."""
        hooks: Any = self._environment.events
        hooks.between_rounds.fire(environment=self._environment, scenario=scenario.name, next_round=number)
        gevent.sleep(pause_s)
        for worker, files in self._workers.running_other_code().items():
            assert self._run is not None
            self._run.warn(f"worker {self._workers.name(worker)} came late and gets no work: it differs in {files}")
            self._spawning.refuse(worker)
            self._workers.dismiss(worker)
        self._compare_clocks()
        self._warn_of_missing(self._spawning.settle())

    # -- workers

    def _send(self, kind: str, worker: str, **data: Any) -> None:
        assert self._run is not None
        self._workers.send(kind, worker, {"run_id": self._run.config.run_id, **data})

    def _halt_workers(self) -> None:
        """Open streams end with their record, and every record is here or its time is up."""
        self._flushed = set()
        stop_timeout_s = self._environment.stop_timeout or 0.0
        for worker in self._workers.connected():
            self._send("kv_halt", worker, stop_timeout_s=stop_timeout_s)
        deadline_s = time.monotonic() + stop_timeout_s + FLUSH_TIMEOUT_S
        while set(self._workers.connected()) - self._flushed and time.monotonic() < deadline_s:
            gevent.sleep(0.05)

    def _on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        """All that workers say; must not block, it runs in the loop that answers heartbeats."""
        if msg.type == "kv_files":
            self._workers.note_files(msg.node_id, msg.data["files"])
            return
        if msg.type == "kv_time":
            self._workers.note_clock(msg.node_id, msg.data["at_s"])
            return
        if self._run is None or msg.data["run_id"] != self._run.config.run_id:
            return
        if msg.type == "kv_records":
            self._run.collector.add(msg.data["lines"], msg.data["keys"])
            if self.live is not None:
                records = self.live.add(msg.data["lines"])
                if self.client_metrics is not None:
                    self.client_metrics.add(records)
            if "late" in msg.data:
                self._run.lateness.note(msg.node_id, *msg.data["late"])
        elif msg.type == "kv_flushed":
            self._flushed.add(msg.node_id)
        if self._round is not None:
            self._round.on_message(msg.type, msg.node_id, msg.data)

    # -- the end

    def _refuse(self, error: BadInput) -> None:
        """Bad input ends the test before any load is sent."""
        log.error("%s", error)
        self._environment.process_exit_code = EXIT_BAD_INPUT
        self._end_test()

    def _finish(self, incomplete_reason: str | None, analysed: bool = True) -> None:
        """Close the files, let the analysis speak, and set the exit code; once per run."""
        run, options = self._run, self._options
        assert run is not None
        assert options is not None
        run.finish(incomplete_reason)
        for worker in self._workers.connected():
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

    def _end_test(self) -> None:
        """Headless runs quit; with a web UI the test stops and can be started again. Never from the caller's greenlet."""
        gevent.spawn(self._stop_locust)

    def _stop_locust(self) -> None:
        parsed: Any = self._environment.parsed_options
        if parsed.headless:
            self._runner.quit()
            return
        self._spawning.done.wait(10)
        self._runner.stop()
        if parsed.autostart and parsed.autoquit >= 0:
            gevent.sleep(parsed.autoquit)
            self._runner.quit()
            with contextlib.suppress(Exception):
                self._environment.web_ui.stop()  # type: ignore[union-attr]
