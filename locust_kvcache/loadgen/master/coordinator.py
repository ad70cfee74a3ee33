"""Starts and ends tests on Locust's events, and refuses with one line what cannot be started.

Lives on the master, or in the only process. Nothing here runs per request: workers pull from what they were dealt.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Sequence
from typing import Any

import gevent
from locust import User
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import INCOMPLETE, Exit
from locust_kvcache.contract.language import use_language
from locust_kvcache.loadgen.master.load_test import LoadTest
from locust_kvcache.loadgen.master.run_driver import RecordListener, RunDriver
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.user_classes import check_classes, scenarios_of
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.load_options import check_users, slow_start_text
from locust_kvcache.loadgen.options.open_files import too_few_files
from locust_kvcache.loadgen.options.resolve import Job, resolve
from locust_kvcache.loadgen.options.run_options import Options, read_options
from locust_kvcache.loadgen.protocol.messages import FROM_WORKERS, AboutRun, Files, Message, Time
from locust_kvcache.loadgen.run.endings import RunIncomplete
from locust_kvcache.loadgen.run.folder import check_writable
from locust_kvcache.loadgen.run.outcome import Outcome
from locust_kvcache.loadgen.run.resume import check_not_running
from locust_kvcache.loadgen.run.uploading import check_upload

log = logging.getLogger("kvcache")


class Coordinator:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self._workers = Workers(self._runner)
        self.spawning = Spawning(environment, self._workers)
        self.listener: RecordListener | None = None
        self._checked: Job | None = None  # by `check`, for the start that follows
        self._test: LoadTest | None = None  # under way, or the last one
        self._greenlet: gevent.Greenlet | None = None
        self._named_host = environment.host  # of the command line: the start form may name another
        self._said = False
        self._deserted = False  # no worker was there when Locust began to stop
        for message_type in FROM_WORKERS:
            self._runner.register_message(message_type.kind, functools.partial(self._on_message, message_type))

    # -- what others want to know

    @property
    def driver(self) -> RunDriver | None:
        """Of the run under way, or of the last one."""
        return self._test.driver if self._test is not None else None

    @property
    def running(self) -> bool:
        return self._test is not None and self._test.running is not None

    @property
    def under_way(self) -> bool:
        """A run, or what comes before one."""
        return self.running or (self._greenlet is not None and not self._greenlet.dead)

    @property
    def in_round(self) -> bool:
        return self.driver is not None and self.driver.round is not None

    @property
    def summary(self) -> str:
        return self._test.summary if self._test is not None else ""

    @property
    def has_said_last_words(self) -> bool:
        return self._said

    def take_answer(self) -> None:
        """Before Locust takes the exit code: what the analysis of a headless run found."""
        if self._test is not None:
            self._test.take_answer()

    def say_last_words(self) -> None:
        """At the very end of a headless run: the answer, and the report's files as soon as they are written."""
        if self._test is None or not self.summary or self._said:
            return
        self._said = True  # a second signal fires Locust's last event again
        print("\n\n".join(filter(None, (self.summary, self._test.gate_text))), flush=True)
        code = self._environment.process_exit_code
        print(self._test.report_written(), flush=True)
        if self._environment.process_exit_code != code:
            raise SystemExit(self._environment.process_exit_code)  # Locust has its exit code already

    # -- before a start

    def check(self, options: Options, host: str | None, classes: Sequence[type[User]]) -> None:
        """BadInput if what a person wrote is wrong: before workers are waited for, before any user exists."""
        use_language(options.language)
        parsed: Any = self._environment.parsed_options
        check_users(parsed.num_users, parsed.spawn_rate)
        if parsed.headless and (slow := slow_start_text(parsed.num_users, parsed.spawn_rate)):
            log.info(slow)
        if parsed.processes or not parsed.master:  # users on this host; workers that come from elsewhere look for themselves
            users = max(parsed.num_users or 1, *options.concurrency, 1)
            if text := too_few_files(users, parsed.processes or 1):
                raise BadInput(text)
        self._checked = self._resolve(options, host, classes)
        check_writable(options.output_dir)
        if options.upload:
            check_upload(options.upload)
        if options.resume:
            check_not_running(options.resume)

    def _resolve(self, options: Options, host: str | None, classes: Sequence[type[User]]) -> Job:
        job = resolve(options, scenarios_of(classes), host, self._named_host)
        check_classes(self._environment, classes)
        return job

    def _job(self) -> Job:
        """As it was checked, if nothing was changed since: files are read once for a start."""
        options, host = read_options(self._environment.parsed_options), self._environment.host  # type: ignore[arg-type]
        classes = self._environment.user_classes
        checked, self._checked = self._checked, None
        if checked is not None and (checked.options, checked.host, checked.loaded) == (
            options,
            host,
            tuple(scenarios_of(classes)),
        ):
            return checked
        return self._resolve(options, host, classes)

    # -- events of Locust

    def on_test_start(self) -> None:
        """Check what a person wrote, then let a greenlet drive the test while Locust spawns the users."""
        if self._test is not None:
            self._test.close()
        self._test = None
        self.spawning.reset(None)
        try:
            job = self._job()
        except BadInput as error:
            self._refuse(error)
            return
        self.spawning.reset(job.scenarios[0])
        self._test = LoadTest(self._environment, job, self._workers, self.spawning, self.listener)
        self._greenlet = gevent.spawn(self._main, self._test)

    def on_spawning_complete(self) -> None:
        """Fires again when somebody edits the users in mid-round, and when a worker comes back: no new start, but no secret either."""
        if self.driver is not None:
            self.driver.users_changed(self.spawning.ours)
        self.spawning.done.set()

    def on_stopping(self) -> None:
        """Locust stops the users now, whatever the reason: nothing more is dealt, and every record is fetched first."""
        test, greenlet = self._test, self._greenlet
        self._deserted = not self._workers.connected()
        running = test.running if test is not None else None
        if greenlet is not None and greenlet is not gevent.getcurrent() and not greenlet.dead:
            greenlet.kill(block=False)
            if self.driver is None:
                log.error("stopped in the preflight: nothing was measured (-t counts from the start and includes the preflight)")
                self._environment.process_exit_code = int(Exit.NOT_JUDGED)
            elif running is None:
                log.error("stopped between two levels of --concurrency, or runs of a study: those before are complete")
                self._environment.process_exit_code = int(Exit.NOT_JUDGED)
        if running is not None:
            running.halt_workers()

    def on_stopped(self) -> None:
        if self._test is not None and (running := self._test.running) is not None:
            running.stopped()
        if self._environment.parsed_options.headless and (self._deserted or not self._workers.connected()):  # type: ignore[union-attr]
            self._end_test()  # Locust stops when it has lost the last worker, and would then wait for ever, also where one is back

    def leave(self) -> None:
        """At once: nobody waits for workers or for the analysis any more."""
        if self._test is not None and (running := self._test.running) is not None:
            running.leave()

    # -- the test

    def _main(self, test: LoadTest) -> None:
        try:
            test.measure()
        except BadInput as error:
            self._refuse(error)
            return
        except RunIncomplete as error:
            if (running := test.running) is not None:
                running.halt_workers()
                running.finish(Outcome(error.cause, str(error)))
        except gevent.GreenletExit:
            raise
        except Exception as error:
            log.exception("the run ends here, after an error of ours")
            self._environment.process_exit_code = int(Exit.NOT_JUDGED)
            if (running := test.running) is not None:
                with contextlib.suppress(Exception):  # whatever it is, the test must end
                    running.finish(Outcome(INCOMPLETE, f"internal error: {type(error).__name__}: {error}"))
        self._end_test()

    def _on_message(self, message_type: type[Message], environment: Environment, msg: Any, **_: Any) -> None:
        """Must not block: it runs in the loop that answers heartbeats."""
        message = message_type.from_wire(msg.data)
        match message:
            case Files(files=files, command=command):
                self._workers.note_files(msg.node_id, files, command)
            case Time(at_s=at_s):
                self._workers.note_clock(msg.node_id, at_s)
            case AboutRun() if self.driver is not None:
                self.driver.on_message(msg.node_id, message)

    # -- the end

    def _refuse(self, error: BadInput) -> None:
        """Bad input ends the test before any load is sent."""
        log.error("%s", error)
        if self._test is not None:
            self._test.close()
        self._environment.process_exit_code = int(Exit.BAD_INPUT)
        self._end_test()

    def _end_test(self) -> None:
        """Headless runs quit; with a web UI the test stops and can be started again. Never from the caller's greenlet."""
        gevent.spawn(self._stop_locust)

    def _stop_locust(self) -> None:
        parsed: Any = self._environment.parsed_options
        if parsed.headless:
            self._runner.quit()
            self._runner.quit = lambda: None  # type: ignore[method-assign]  # Locust does it again, half a second on a master
            return
        self.spawning.done.wait(10)
        self._runner.stop()
        if parsed.autostart and parsed.autoquit >= 0:
            gevent.sleep(parsed.autoquit)
            self._runner.quit()
            with contextlib.suppress(Exception):
                self._environment.web_ui.stop()  # type: ignore[union-attr]
