"""The master's side of a run: preflight, then round after round with a barrier between them, then the files and the analysis.

Lives on the master, or in the only process. Nothing here runs per request; workers pull from what they were dealt.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner

from locustfiles._dealing import deal
from locustfiles._dispatch import Classes, classes_for, scenario_of
from locustfiles._options import Options, read_options
from locustfiles._run import Run, RunIncomplete, load_scenarios, prepare_run
from locustfiles._run_folder import analyse
from scenarios.errors import BadInput
from scenarios.spec import Scenario

log = logging.getLogger("kvcache")
PROGRESS_INTERVAL_S = 2.0
FLUSH_TIMEOUT_S = 5.0
EXIT_INCOMPLETE = 2
EXIT_BAD_INPUT = 3


class Coordinator:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self._options: Options | None = None
        self._scenarios: list[Scenario] = []
        self._current: Scenario | None = None
        self._run: Run | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._spawned = Event()
        self._news = Event()
        self._answers: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
        self._flushed: set[str] = set()
        self.summary = ""  # what the analysis printed, for the very end of the console
        for kind in ("kv_ready", "kv_done", "kv_records", "kv_flushed"):
            self._runner.register_message(kind, self._on_message)

    # -- events of Locust

    def on_test_start(self) -> None:
        """Check what a person wrote, then let a greenlet drive the run while Locust spawns the users."""
        self._run, self._current, self.summary = None, None, ""
        self._spawned.clear()
        try:
            self._options = read_options(self._environment.parsed_options)  # type: ignore[arg-type]
            loaded = [scenario_of(cls) for cls in self._environment.user_classes]
            self._scenarios = load_scenarios(self._options, loaded)
            self._current = self._scenarios[0]
        except BadInput as error:
            self._refuse(error)
            return
        self._greenlet = gevent.spawn(self._main)

    def on_spawning_complete(self) -> None:
        self._spawned.set()

    def on_stopping(self) -> None:
        """Locust stops the users now, whatever the reason: nothing more is dealt, and every record is fetched first."""
        if not self.running:
            return
        if self._greenlet is not None and self._greenlet is not gevent.getcurrent():
            self._greenlet.kill(block=False)
        self._flushed = set()
        stop_timeout_s = self._environment.stop_timeout or 0.0
        for worker in self._connected():
            self._send("kv_halt", worker, stop_timeout_s=stop_timeout_s)
        deadline_s = time.monotonic() + stop_timeout_s + FLUSH_TIMEOUT_S
        while set(self._connected()) - self._flushed and time.monotonic() < deadline_s:
            gevent.sleep(0.05)

    def on_stopped(self) -> None:
        if self.running and self._run is not None:
            self._finish(self._run.stopped_reason())

    @property
    def running(self) -> bool:
        """A run has begun and its files are not finished."""
        return self._run is not None and not self._run.finished

    def wanted_classes(self) -> Classes:
        """The user classes to spawn now."""
        loaded = list(self._environment.user_classes)
        return classes_for(self._current.name, loaded) if self._current else loaded

    # -- the run

    def _main(self) -> None:
        try:
            assert self._options is not None
            self._run = prepare_run(self._environment, self._options, self._scenarios)
            for scenario in self._scenarios:
                self._switch_users(scenario)
                self._run.note_load(self._users_by_worker())
                for number in range(1, (self._options.rounds or scenario.rounds) + 1):
                    self._round(scenario, number)
            self._finish(None)
        except BadInput as error:
            self._refuse(error)
            return
        except RunIncomplete as error:
            self._finish(str(error))
        except gevent.GreenletExit:
            raise
        except Exception as error:
            log.exception("the run ends here, after an error of ours")
            self._environment.process_exit_code = EXIT_INCOMPLETE
            if self.running:
                self._finish(f"internal error: {type(error).__name__}: {error}")
        self._end_test()

    def _round(self, scenario: Scenario, number: int) -> None:
        """One pass over the planned requests: deal, wait until all is prepared, go, wait until all has ended."""
        run = self._run
        assert run is not None
        users = self._users_by_worker()
        shares = deal(run.sessions(scenario.name), users)
        for worker in shares:
            self._send("kv_run", worker, **run.config.to_message())
        for worker, sessions in shares.items():
            self._send("kv_deal", worker, scenario=scenario.name, round=number, sessions=sessions)
        self._wait("kv_ready", scenario.name, number, set(shares))
        run.scrape(scenario.name, number, "before")
        log.info("%s: round %d/%d starts, %s", scenario.name, number, self._rounds(scenario), run.planned_text(scenario))
        run.begin_round(scenario.name, number)
        for worker in shares:
            self._send("kv_go", worker, scenario=scenario.name, round=number)
        busy = {worker for worker, sessions in shares.items() if sessions}
        answers = self._wait("kv_done", scenario.name, number, busy)
        run.scrape(scenario.name, number, "after")
        run.end_round(scenario.name, number, [answers[worker] for worker in busy])
        log.info("%s: round %d/%d done, %s", scenario.name, number, self._rounds(scenario), run.round_text(scenario.name, number))

    def _rounds(self, scenario: Scenario) -> int:
        return (self._options.rounds if self._options else None) or scenario.rounds

    def _wait(self, kind: str, scenario: str, number: int, workers: set[str]) -> dict[str, dict[str, Any]]:
        """Answers by worker, once all are there; RunIncomplete if one of them is lost, or the records cannot be written."""
        answers = self._answers.setdefault((kind, scenario, number), {})
        told_s, told = time.monotonic(), ""
        while not workers <= answers.keys():
            lost = workers - answers.keys() - set(self._connected())
            if lost:
                raise RunIncomplete(f"worker {', '.join(sorted(lost))} was lost in round {number} of {scenario}")
            self._news.wait(0.2)
            self._news.clear()
            assert self._run is not None
            self._run.check_collector()
            if kind == "kv_done" and time.monotonic() - told_s >= PROGRESS_INTERVAL_S:
                told_s, text = time.monotonic(), self._run.progress_text(scenario, number)
                if text != told:
                    log.info("%s: round %d/%d, %s", scenario, number, self._rounds(self._run.config.scenario(scenario)), text)
                told = text
        return answers

    def _switch_users(self, scenario: Scenario) -> None:
        """Spawned users of this scenario's class: at the start Locust spawns them, later they replace the last scenario's."""
        self._spawned.wait()
        before = self.wanted_classes()
        self._current = scenario
        if self.wanted_classes() != before:
            users, rate = self._runner.target_user_count, float(self._environment.parsed_options.spawn_rate or 1)  # type: ignore[union-attr]
            for count in (0, users):
                self._spawned.clear()
                self._runner.start(count, min(100.0, max(rate, float(users))) if count == 0 else rate)
                self._spawned.wait()
        while sum(self._users_by_worker().values()) < self._runner.target_user_count:
            gevent.sleep(0.05)  # the workers' reports are on their way

    # -- workers

    def _connected(self) -> list[str]:
        if isinstance(self._runner, LocalRunner):
            return ["local"]
        return [client.id for client in self._runner.clients.all if client.state != STATE_MISSING]

    def _users_by_worker(self) -> dict[str, int]:
        """Users that can send this scenario's requests, by worker."""
        ours = {cls.__name__ for cls in self.wanted_classes() if scenario_of(cls)}
        if isinstance(self._runner, LocalRunner):
            counts = {"local": self._runner.user_classes_count}
        else:
            counts = {worker: self._runner.clients[worker].user_classes_count for worker in self._connected()}
        return {worker: sum(n for name, n in by_class.items() if name in ours) for worker, by_class in counts.items()}

    def _send(self, kind: str, worker: str, **data: Any) -> None:
        assert self._run is not None
        self._runner.send_message(kind, {"run_id": self._run.config.run_id, **data}, client_id=worker)

    def _on_message(self, environment: Environment, msg: Any, **_: Any) -> None:
        """All that workers say; must not block, it runs in the loop that answers heartbeats."""
        if self._run is None or msg.data["run_id"] != self._run.config.run_id:
            return
        if msg.type == "kv_records":
            self._run.collector.add(msg.data["lines"], msg.data["keys"])
            if "late" in msg.data:
                self._run.lateness.note(msg.node_id, *msg.data["late"])
        elif msg.type == "kv_flushed":
            self._flushed.add(msg.node_id)
        else:
            self._answers.setdefault((msg.type, msg.data["scenario"], msg.data["round"]), {})[msg.node_id] = msg.data
        self._news.set()

    # -- the end

    def _refuse(self, error: BadInput) -> None:
        """Bad input ends the test before any load is sent."""
        log.error("%s", error)
        self._environment.process_exit_code = EXIT_BAD_INPUT
        self._end_test()

    def _finish(self, incomplete_reason: str | None) -> None:
        """Close the files, let the analysis speak, and set the exit code; once per run."""
        run, options = self._run, self._options
        assert run is not None
        assert options is not None
        run.finish(incomplete_reason)
        if incomplete_reason:
            log.error("run %s is incomplete: %s", run.config.run_id, incomplete_reason)
            self._environment.process_exit_code = EXIT_INCOMPLETE
        if not run.collector.records:
            log.error("nothing was measured; %s holds only run.json", run.folder)
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
        self._spawned.wait(10)
        self._runner.stop()
        if parsed.autostart and parsed.autoquit >= 0:
            gevent.sleep(parsed.autoquit)
            self._runner.quit()
            with contextlib.suppress(Exception):
                self._environment.web_ui.stop()  # type: ignore[union-attr]
