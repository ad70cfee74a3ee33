"""Plays single rounds and warm-ups of a run with all their users, and readies users, workers and shape between them."""

from __future__ import annotations

import secrets
import time
from typing import Any

import gevent
from locust.env import Environment

from locust_kvcache.contract.round_kinds import CONTROL, HIT
from locust_kvcache.loadgen.master.fault_player import FaultPlayer
from locust_kvcache.loadgen.master.played import Played
from locust_kvcache.loadgen.master.round_driver import RoundDriver
from locust_kvcache.loadgen.master.shape import RoundShape
from locust_kvcache.loadgen.master.spawning import Spawning
from locust_kvcache.loadgen.master.timed_round_driver import TimedRoundDriver
from locust_kvcache.loadgen.master.warm_up_driver import WarmUpDriver
from locust_kvcache.loadgen.master.worker_watch import LOST_BEFORE_S, WorkerLost
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options.resolve import Job
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.protocol.messages import AboutRun, WarmedUp
from locust_kvcache.loadgen.protocol.timed import TimedRound
from locust_kvcache.loadgen.run.endings import RunIncomplete
from locust_kvcache.loadgen.run.measured_round import MeasuredRound
from locust_kvcache.loadgen.run.open_run import make_arms
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.run.warm_up_window import WarmUpWindow
from locust_kvcache.loadgen.server.arms import Arms
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.warm_up import OFF, WarmUp

BEGIN_TRIES = 5


class RoundPlayer:
    def __init__(
        self, environment: Environment, job: Job, run: Run, workers: Workers, spawning: Spawning, warmed_up: dict[str, str]
    ) -> None:
        """`warmed_up`: by scenario, the run of this test that warmed up."""
        self._environment = environment
        self._job = job
        self.run = run
        self._workers = workers
        self._spawning = spawning
        self._warmed_up = warmed_up
        self.round: RoundDriver | None = None  # the one under way
        self._window: WarmUpWindow | None = None  # of a warm-up under way
        events = () if job.options.no_events else run.deployment.events
        self._faults = FaultPlayer(events, run.folder, run.note_events, run.warn)
        if run.deployment.events:
            run.note_events([])
        self._shape = RoundShape(environment)
        run.note_shape(self._shape.name)
        self._compare_clocks()

    def close(self) -> None:
        """The run ends: what a fault changed is undone."""
        self._faults.close()

    def on_message(self, worker: str, message: AboutRun) -> None:
        """Must not block: it runs in the loop that answers heartbeats."""
        if isinstance(message, WarmedUp) and self._window is not None and message.round == self._window.number:
            self._window.take([(index, ttft_ms) for index, ttft_ms in message.answered])
        if self.round is not None:
            self.round.on_message(worker, message)

    def switch_to(self, scenario: Scenario) -> None:
        """The users play this scenario from here on."""
        self._warn_of_missing(self._spawning.switch_to(scenario))

    def warm_up_once(self, scenario: Scenario) -> None:
        """In a study only the first run of a scenario warms up: the others find the server as it left it."""
        if earlier := self._warmed_up.get(scenario.name):
            skipped = WarmUp(
                scenario.name, self._job.options.warm_up, True, ended=f"not repeated: {earlier} of this test warmed up"
            )
            self.run.note_warm_up(skipped.to_dict())
            return
        self._warmed_up[scenario.name] = self.run.config.run_id
        self.warm_up(scenario, make_arms(self.run, self._job))

    def warm_up(self, scenario: Scenario, arms: Arms) -> None:
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

    def play(self, scenario: Scenario, number: int, arrival: Arrival | None) -> None:
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
                self.run.warn(
                    f"worker {name} was lost before {played.title} of {played.scenario}: its users are spawned on the other "
                    "workers"
                )
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
            self.run.warn(
                f"worker {self._workers.name(worker)} was lost between rounds: its users are spawned on the other workers"
            )
            self._workers.give_up(worker)

    def _compare_clocks(self) -> None:
        """Start times of all records are in the master's clock, so that they can be put in order."""
        self._workers.compare_clocks()
        self.run.note_clocks(self._workers.clocks())

    def _warn_of_missing(self, users: int) -> None:
        if users:
            self.run.warn(f"{users} of {self._spawning.ours} users did not start, or are not on the worker that should have them")

    def between_rounds(self, scenario: Scenario, number: int, pause_s: float) -> None:
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
            self.run.warn(f"users were changed from {self.run.users} to {users} during a round: its load was not constant")
