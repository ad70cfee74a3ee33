"""Runs one test, from Locust's start to its stop: a plain run, or the runs of a study one after another."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from locust.env import Environment

from locust_kvcache.contract.analysis_job import AnalysisJob
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import NOT_UPLOADED, OK, Cause, Exit, cause_of_code, worst
from locust_kvcache.contract.finding import ERROR, WARNING, Finding, gravest_first
from locust_kvcache.contract.language import told, use_language
from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.master.run_driver import RecordListener, RunDriver
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.run.analysis_process import Analyses, summarise
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.open_run import open_run
from locust_kvcache.loadgen.run.outcome import Outcome
from locust_kvcache.loadgen.run.uploading import pages_since, uploaded
from locust_kvcache.loadgen.server.deployment_check import report
from locust_kvcache.loadgen.server.discovery import discovered
from locust_kvcache.loadgen.server.look import Look, look_at_server, preflight_only
from locust_kvcache.loadgen.studies.capacity import CAPACITY
from locust_kvcache.loadgen.studies.concurrency import CONCURRENCY
from locust_kvcache.loadgen.studies.noisy_neighbour import NOISY_NEIGHBOUR
from locust_kvcache.loadgen.studies.repeats import REPEATS
from locust_kvcache.loadgen.studies.retention import RETENTION
from locust_kvcache.loadgen.studies.study import Study
from locust_kvcache.loadgen.studies.working_set import WORKING_SET
from locust_kvcache.workload.spec import Scenario

log = logging.getLogger("kvcache")


def study_of(job: Job) -> Study | None:
    """The study that the options ask for; None: a plain run."""
    options = job.options
    if options.study.capacity:
        return CAPACITY
    if options.study.sweeps_working_set:
        return WORKING_SET
    if options.study.noisy_neighbour:
        return NOISY_NEIGHBOUR
    if options.study.returns:
        return RETENTION
    if options.repeat > 1:
        return REPEATS
    return CONCURRENCY if options.concurrency else None


class LoadTest:
    def __init__(
        self, environment: Environment, job: Job, workers: Workers, spawning: Spawning, listener: RecordListener | None
    ) -> None:
        self._environment = environment
        self.job = job
        self._workers = workers
        self._spawning = spawning
        self._listener = listener
        self.driver: RunDriver | None = None  # of the run under way, or of the last one; None in the preflight
        self._discovery: list[str] = []  # warnings of the router's list of workers
        self._summary = ""
        self._causes: list[Cause] = []  # of the runs that have ended
        self._analyses = Analyses()
        self._asked: Outcome | None = None  # of the run whose analysis is under way
        self._to_upload: list[Path] = []  # folders that are complete once their report is written
        self._warmed_up: dict[str, str] = {}  # by scenario, the run whose warm-up the server had

    @property
    def running(self) -> RunDriver | None:
        """The driver of a run that has begun and whose files are not finished."""
        return self.driver if self.driver is not None and not self.driver.run.finished else None

    @property
    def summary(self) -> str:
        """What the analysis printed, for the very end of the console."""
        return self._summary

    def measure(self) -> None:
        """All of it; BadInput before any load is sent."""
        use_language(self.job.options.language)
        deployment, self._discovery = discovered(self.job.deployment)
        self.job = dataclasses.replace(self.job, deployment=deployment)
        if self.job.options.preflight_only:
            self._preflight_only()
            return
        console().prepare()
        self._analyses.prepare(draws=self.job.options.report)  # it imports while the server is looked at
        options = self.job.options
        if (study := study_of(self.job)) is not None:
            folders = study.measure(self)
            console().phase("analysing")
            began_s = time.time()
            self._say(summarise(study.analysis, folders, options.png, options.language))
            self._to_upload = pages_since(folders[0].parent, began_s) if folders else []
            if not self._headless:
                self.report_written()
        else:
            driver = self.open_run()
            driver.play()
            driver.close()

    # -- what the analysis says

    def _analyse(self, folder: Path, outcome: Outcome) -> None:
        """A plain headless run lets Locust stop meanwhile (`take_answer`, `report_written`). The next run of a study begins when nothing
        else takes the machine's time, and a page with a web UI goes on."""
        options = self.job.options
        console().phase("analysing")
        self._analyses.ask(AnalysisJob(str(folder.resolve()), options.report, options.png, options.gate, options.language))
        self._asked = outcome
        self._to_upload.append(folder)
        if study_of(self.job) is not None or not self._headless:
            self.take_answer()
            self.report_written()

    def take_answer(self) -> None:
        """Wait for the analysis that is under way: its text, and what it means for the exit code."""
        outcome, self._asked = self._asked, None
        if outcome is None:
            return
        code, text = self._analyses.answer()
        self._say(text)
        if code and (self.job.options.gate or not outcome.reason):
            self._ended(cause_of_code(code))

    @property
    def gate_text(self) -> str:
        """Why a study ends with its exit code, as the answer of its last run is not shown; empty for a single run, which says it itself."""
        cause = worst(self._causes) if self._causes else OK
        if study_of(self.job) is None or not self.job.options.gate or cause is OK:
            return ""
        return told(f"exit code {cause.code:d}: {cause.text}")

    def report_written(self) -> str:
        """Wait until the report of the last run is written; what the console shows of it."""
        if self.job.options.report and self._analyses.is_drawing:
            console().phase("drawing the report")
        code, text = self._analyses.files()
        if code:
            self._ended(cause_of_code(code))
        text = "\n".join(filter(None, (text, self._uploaded())))
        if not self._headless and text:
            print(text, flush=True)
        return text

    def _uploaded(self) -> str:
        """What the upload of the folders that are complete says; empty where nothing is uploaded. A failure is logged: between the runs of
        a study nothing is printed."""
        folders, self._to_upload = self._to_upload, []
        if not folders or not self.job.options.upload:
            return ""
        console().phase("uploading")
        code, text = uploaded(folders, self.job.options.upload)
        if not code:
            return text
        log.error("%s", text.removeprefix("error: "))
        self._ended(NOT_UPLOADED)
        return ""

    def close(self) -> None:
        """No run comes any more."""
        self._analyses.close()

    def _ended(self, cause: Cause) -> None:
        """A run has ended: the gravest cause of all runs of this test decides the exit code. Where there is none, requests that failed
        within --max-failures are no reason for Locust's own code; those of users that are not ours are."""
        self._causes.append(cause)
        code = int(worst(self._causes).code)
        ours = tuple(f"{scenario.name} r" for scenario in self.job.scenarios)
        runner = self._environment.runner
        foreign = runner is not None and any(not error.name.startswith(ours) for error in runner.errors.values())
        self._environment.process_exit_code = None if not code and foreign else code

    def _preflight_only(self) -> None:
        told = [Finding(WARNING, "discovery", text) for text in self._discovery]
        findings = gravest_first([*preflight_only(self.job), *told])
        if self.job.options.gate and any(finding.severity in (WARNING, ERROR) for finding in findings):
            self._environment.process_exit_code = int(Exit.TARGET_MISSED)
        self._say(report(findings))

    def _say(self, text: str) -> None:
        """Headless: at the very end; with a web UI, which goes on, now."""
        self._summary = text
        if not self._headless:
            print(text, flush=True)

    @property
    def _headless(self) -> bool:
        return bool(self._environment.parsed_options.headless)  # type: ignore[union-attr]

    # -- what a study asks for (studies.study.Master)

    @property
    def users(self) -> int:
        return self._spawning.users

    def change_users(self, users: int) -> None:
        self._spawning.change_users(users)

    @cached_property
    def look(self) -> Look:
        """The server, looked at once for all runs of a test."""
        look = look_at_server(self.job)
        look.server.warnings += self._discovery
        self.job = dataclasses.replace(self.job, deployment=look.deployment)
        return look

    def open_run(self, scenarios: Sequence[Scenario] = (), suffix: str = "", nonce_end: str = "") -> RunDriver:
        """A run that is ready for its first round, of all scenarios if none is named; BadInput before any load is sent."""
        if other := self._workers.running_other_code():
            texts = (f"worker {self._workers.name(worker)} differs in {files}" for worker, files in other.items())
            raise BadInput(
                f"workers must run the master's code; {'; '.join(texts)}. Install the same version, or bring the checkouts to one commit"
            )
        look = self.look
        self._spawning.check_ours()
        chosen = tuple(scenarios) or self.job.scenarios
        self._analyses.wait_until_ready()
        run = open_run(self._environment, self.job, look, chosen, suffix, nonce_end)
        watched = self._environment.web_ui is not None or self._listener is not None
        live = Live(run.requests_by_round()) if watched else None
        if live is not None and self._listener is not None:
            self._listener.begin(run, live, run.arms)
        self.driver = RunDriver(
            self._environment,
            self.job,
            run,
            self._workers,
            self._spawning,
            live,
            self._listener,
            self._warmed_up,
            self._ended,
            self._analyse,
        )
        return self.driver
