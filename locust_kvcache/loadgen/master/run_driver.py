"""Drives one run on the master: plays its rounds one after another, and closes its files."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gevent
import orjson
from locust.env import Environment

from locust_kvcache.contract.exit_codes import FAILURES, INCOMPLETE, OK, Cause
from locust_kvcache.contract.round_kinds import CONTROL, HIT
from locust_kvcache.loadgen.interrupt import was_interrupted
from locust_kvcache.loadgen.master.fault_player import FaultPlayer
from locust_kvcache.loadgen.master.round_driver import LOST_BEFORE_S, Played, RoundDriver, WorkerLost
from locust_kvcache.loadgen.master.shape import RoundShape
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.timed_round_driver import TimedRoundDriver
from locust_kvcache.loadgen.master.warm_up_driver import WarmUpDriver
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import AboutRun, Flushed, Halt, Late, Records, RunClosed, WarmedUp
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.run.live_statistics import Live
from locust_kvcache.loadgen.run.measured_round import MeasuredRound
from locust_kvcache.loadgen.run.open_run import make_arms
from locust_kvcache.loadgen.run.outcome import Outcome
from locust_kvcache.loadgen.run.state import Run, RunIncomplete
from locust_kvcache.loadgen.run.warm_up_window import WarmUpWindow
from locust_kvcache.loadgen.server.arms import Arms
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.warm_up import OFF, WarmUp

log = logging.getLogger("kvcache")
FLUSH_TIMEOUT_S = 5.0
BEGIN_TRIES = 5


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
        self._spawning = spawning
        self._listener = listener
        self._warmed_up = warmed_up
        self._ended = ended
        self._analyse = analyse
        self._flushed: set[str] = set()
        self.round: RoundDriver | None = None  # the one under way
        self._window: WarmUpWindow | None = None  # of a warm-up under way
        self._plain = False  # all rounds are known from the start; a study decides on them one by one
        events = () if job.options.no_events else run.deployment.events
        self._faults = FaultPlayer(events, run.folder, run.note_events, run.warn)
        if run.deployment.events:
            run.note_events([])
        self._shape = RoundShape(environment)
        run.note_shape(self._shape.name)
        self._compare_clocks()

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
                self._warn_of_missing(self._spawning.switch_to(scenario))
            for number in numbers:
                if not first:
                    self._between_rounds(scenario, number, options.round_pause_s)
                first = False
                if number == 1:
                    self._warm_up(scenario, arms)
                run.note_caches(arms.before(number))
                self._play(scenario, number, None)

    def _warm_up_once(self, scenario: Scenario) -> None:
        """In a study only the first run of a scenario warms up: the others find the server as it left it."""
        if earlier := self._warmed_up.get(scenario.name):
            skipped = WarmUp(
                scenario.name, self._job.options.warm_up, True, ended=f"not repeated: {earlier} of this test warmed up"
            )
            self.run.note_warm_up(skipped.to_dict())
            return
        self._warmed_up[scenario.name] = self.run.config.run_id
        self._warm_up(scenario, make_arms(self.run, self._job))

    def _warm_up(self, scenario: Scenario, arms: Arms) -> None:
        """Requests that are not measured, before the first round; a resumed run whose first round is done has none."""
        run, kinds = self.run, [self.run.kind(scenario.name, n) for n in range(1, self.run.rounds_planned(scenario) + 1)]
        if self._job.options.warm_up == OFF:
            run.note_warm_up(WarmUp(scenario.name, OFF, False, ended=OFF).to_dict())
            return
        driver = WarmUpDriver(run, scenario, self._job.options.warm_up, HIT in kinds)
        run.warming_up = scenario.name
        driver.run(lambda: sum(self._spawning.by_worker().values()), self._play_window)
        for arm in dict.fromkeys(run.arms):
            if emptied := arms.reach(arm):
                driver.again_from(arm, emptied, self._play_window)
        run.warming_up = None

    def _play_window(self, window: WarmUpWindow) -> None:
        self._window = window
        try:
            self._drive(window)
        finally:
            self._window = None

    def play_round(self, scenario: Scenario, number: int, arrival: Arrival, facts: dict[str, Any]) -> None:
        """A round of a study: at its own arrivals, with `facts` in its entry of run.json."""
        self._warn_of_missing(self._spawning.switch_to(scenario))
        self._between_rounds(scenario, number, self._job.options.round_pause_s)
        if number == 1:
            self._warm_up_once(scenario)
        self.run.note_round(facts)
        self._play(scenario, number, arrival)

    def _play(self, scenario: Scenario, number: int, arrival: Arrival | None) -> None:
        kind = self.run.kind(scenario.name, number)
        nonce = secrets.token_hex(4) if kind == CONTROL else None
        timed = self._timed(scenario, kind)
        begun = self._faults.round_begun if timed is None else self._timed_round_begun
        if timed is not None:
            self._shape.first_step()
            self._spawning.wait()
        self._drive(MeasuredRound(self.run, scenario, number, kind, nonce, arrival, self._ttft_so_far, begun, timed))

    def _timed_round_begun(self, number: int) -> None:
        self._shape.begin()
        self._faults.round_begun(number)

    def _timed(self, scenario: Scenario, kind: str) -> TimedRound | None:
        """None: the round ends with its last planned request."""
        options = self._job.options
        round_s = options.length.round_s(sum(map(self.run.rounds_planned, self.run.config.scenarios)))
        if round_s is None:
            return None
        first_pass, sessions = self.run.passes(scenario.name) if kind == HIT else (0, 0)
        return TimedRound(round_s, round_s * options.length.warm_up_share, first_pass, sessions, fresh=kind != HIT)

    def _ttft_so_far(self, scenario: str, number: int) -> float | None:
        """The mean that Locust's statistics hold: on a master they lag by the workers' reports, every 3 s."""
        entry = self._environment.stats.entries.get((f"{scenario} r{number:02d}", "TTFT"))
        return entry.avg_response_time if entry is not None and entry.num_requests else None

    def _drive(self, played: Played) -> None:
        """Play a round with all its users: those of a worker that was lost before it began spawn on the others first."""
        timeout_s = self._job.options.round_timeout_s
        for _ in range(BEGIN_TRIES):
            self._forget_lost_workers()
            if missing := self._spawning.fill_up():
                self._warn_of_missing(missing)
            self.run.note_load(self._spawning.by_worker(), self._spawning.foreign())
            if isinstance(played, MeasuredRound) and played.timed is not None:
                self.round = TimedRoundDriver(self.run.config, played, self._workers, self._spawning, timeout_s)
            else:
                self.round = RoundDriver(self.run.config, played, self._workers, self._spawning, timeout_s)
            try:
                self.round.run()
                return
            except WorkerLost as lost:
                (worker,) = lost.args
                name = self._workers.name(worker)
                self.run.warn(f"worker {name} was lost before {played.title} of {played.scenario}: its users spawn on the others")
                self._workers.give_up(worker)
            finally:
                self.round = None
        raise RunIncomplete(f"workers were lost before {played.title} of {played.scenario} {BEGIN_TRIES} times in a row")

    def _forget_lost_workers(self) -> None:
        """A worker that does not answer may be back in a moment; else its users spawn on the others."""
        deadline_s = time.monotonic() + LOST_BEFORE_S
        while (lost := self._workers.known() - set(self._workers.connected())) and time.monotonic() < deadline_s:
            gevent.sleep(0.1)
        for worker in lost:
            self.run.warn(f"worker {self._workers.name(worker)} was lost between rounds: its users spawn on the others")
            self._workers.give_up(worker)

    # -- between rounds

    def _compare_clocks(self) -> None:
        """Start times of all records are in the master's clock, so that they can be put in order."""
        self._workers.compare_clocks()
        self.run.note_clocks(self._workers.clocks())

    def _warn_of_missing(self, users: int) -> None:
        if users:
            self.run.warn(f"{users} of {self._spawning.ours} users did not start, or are not on the worker that should have them")

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
        if self.round is not None and self._shape.name and self._job.options.length.is_timed:
            self.run.note_users(users)
        elif self.round is not None and self.run.users != users:
            self.run.warn(f"users were changed from {self.run.users} to {users} in mid-round: its load was not constant")

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
        lost = "" if self._workers.connected() or was_interrupted() else "every worker was lost; "
        self.finish(Outcome(INCOMPLETE, lost + self.run.stopped_reason()))

    def close(self, analysed: bool = True) -> Path:
        """The run is through; its folder."""
        self.finish(self.run.outcome(self._job.options.max_failures, self._job.options.allow_loss), analysed)
        return self.run.folder

    def finish(self, outcome: Outcome, analysed: bool = True) -> None:
        """Close the files, say how the run ended, and let the analysis begin; once per run."""
        run = self.run
        self._faults.close()
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
            case WarmedUp() if self._window is not None and message.round == self._window.number:
                self._window.take([(index, ttft_ms) for index, ttft_ms in message.answered])
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
        elif self.run.alerts:
            records = [orjson.loads(line) for line in message.lines]
        else:
            return
        self.run.watch(records)
