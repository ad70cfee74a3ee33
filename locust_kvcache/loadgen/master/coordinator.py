"""The master's side of a run: preflight, then scenario after scenario and round after round, then the files and the analysis.

Lives on the master, or in the only process. Nothing here runs per request; workers pull from what they were dealt.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.finding import ERROR, WARNING
from locust_kvcache.loadgen.master.dispatcher import scenario_of
from locust_kvcache.loadgen.master.run_driver import EXIT_BAD_INPUT, EXIT_GATE, EXIT_INCOMPLETE, MasterStage
from locust_kvcache.loadgen.options.run_options import Options, read_options
from locust_kvcache.loadgen.run.folder import summarise
from locust_kvcache.loadgen.run.prepare import load_scenarios, preflight_only
from locust_kvcache.loadgen.run.state import RunIncomplete
from locust_kvcache.loadgen.server.deployment_check import report
from locust_kvcache.loadgen.studies.catalogue import study_of
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")
KINDS = ("kv_ready", "kv_refused", "kv_want", "kv_done", "kv_records", "kv_flushed", "kv_files", "kv_time")  # what workers say


class Coordinator:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self.stage = MasterStage(environment)
        self._options: Options | None = None
        self._scenarios: list[Scenario] = []
        self._greenlet: gevent.Greenlet | None = None
        for kind in KINDS:
            self._runner.register_message(kind, self._on_message)

    # -- events of Locust

    def on_test_start(self) -> None:
        """Check what a person wrote, then let a greenlet drive the run while Locust spawns the users."""
        self.stage.reset()
        try:
            self._options = read_options(self._environment.parsed_options)  # type: ignore[arg-type]
            loaded = [scenario_of(cls) for cls in self._environment.user_classes]
            self._scenarios = load_scenarios(self._options, loaded)
            self.stage.set_up(self._options, self._scenarios[0])
        except BadInput as error:
            self._refuse(error)
            return
        self._greenlet = gevent.spawn(self._main)

    def on_spawning_complete(self) -> None:
        """Fires again when somebody edits the users in mid-round, and when a worker comes back: no new start, but no secret either."""
        run, users = self.stage.run, self._runner.target_user_count
        if self.stage.round is not None and run is not None and run.users != users:
            run.warn(f"users were changed from {run.users} to {users} in mid-round; that round has no one load")
        self.stage.spawning.done.set()

    def on_stopping(self) -> None:
        """Locust stops the users now, whatever the reason: nothing more is dealt, and every record is fetched first."""
        driver = self._greenlet
        if driver is not None and driver is not gevent.getcurrent() and not driver.dead:
            driver.kill(block=False)
            if self.stage.run is None:
                log.error("stopped in the preflight: nothing was measured (-t counts from the start, preflight included)")
                self._environment.process_exit_code = EXIT_INCOMPLETE
            elif not self.stage.running:
                log.error("stopped between two levels of --concurrency, or runs of a study: those before are complete")
                self._environment.process_exit_code = EXIT_INCOMPLETE
        if self.stage.running:
            self.stage.halt_workers()

    def on_stopped(self) -> None:
        if self.stage.running and self.stage.run is not None:
            lost = "" if self.stage.workers.connected() else "every worker was lost; "
            self.stage.finish(lost + self.stage.run.stopped_reason())

    # -- the run

    def _main(self) -> None:
        assert self._options is not None
        try:
            if self._options.preflight_only:
                self._check_only(self._options)
                return
            study = study_of(self._options)
            if study is not None:
                self.stage.summary = summarise(study.analysis, study.measure(self.stage, self._options, self._scenarios))
                if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
                    print(self.stage.summary, flush=True)
            else:
                folders = [self._level(users) for users in self._options.concurrency or (None,)]
                if self._options.concurrency:
                    self.stage.summary = summarise("locust_kvcache.analysis.commands.sweep", folders)
        except BadInput as error:
            self._refuse(error)
            return
        except RunIncomplete as error:
            self.stage.halt_workers()
            self.stage.finish(str(error))
        except gevent.GreenletExit:
            raise
        except Exception as error:
            log.exception("the run ends here, after an error of ours")
            self._environment.process_exit_code = EXIT_INCOMPLETE
            if self.stage.running:
                with contextlib.suppress(Exception):  # whatever it is, the test must end
                    self.stage.finish(f"internal error: {type(error).__name__}: {error}")
        finally:
            self.stage.round = None
        self._end_test()

    def _check_only(self, options: Options) -> None:
        findings = preflight_only(self._environment, options, self._scenarios)
        self.stage.summary = report(findings)
        if options.gate and any(finding.severity in (WARNING, ERROR) for finding in findings):
            self._environment.process_exit_code = EXIT_GATE
        if not self._environment.parsed_options.headless:  # type: ignore[union-attr]
            print(self.stage.summary, flush=True)
        self._end_test()

    def _level(self, users: int | None) -> Path:
        """One run: all there is, or one level of a concurrency sweep, with a nonce of its own so that it has its own cold."""
        if users is not None:
            log.info("concurrency %d", users)
            self.stage.spawning.change_users(users)
        self.stage.drive(self._scenarios, users)
        self.stage.finish(None)
        assert self.stage.run is not None
        return self.stage.run.folder

    def _on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        self.stage.on_message(msg.type, msg.node_id, msg.data)

    # -- the end

    def _refuse(self, error: BadInput) -> None:
        """Bad input ends the test before any load is sent."""
        log.error("%s", error)
        self._environment.process_exit_code = EXIT_BAD_INPUT
        self._end_test()

    def _end_test(self) -> None:
        """Headless runs quit; with a web UI the test stops and can be started again. Never from the caller's greenlet."""
        gevent.spawn(self._stop_locust)

    def _stop_locust(self) -> None:
        parsed: Any = self._environment.parsed_options
        if parsed.headless:
            self._runner.quit()
            return
        self.stage.spawning.done.wait(10)
        self._runner.stop()
        if parsed.autostart and parsed.autoquit >= 0:
            gevent.sleep(parsed.autoquit)
            self._runner.quit()
            with contextlib.suppress(Exception):
                self._environment.web_ui.stop()  # type: ignore[union-attr]
