"""Decides which users Locust spawns now, and waits until they are there.

Lives on the master, or in the only process.
"""

from __future__ import annotations

import time

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.master.dispatcher import ScenarioDispatcher
from locust_kvcache.loadgen.master.user_classes import Classes, classes_for, is_ours
from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.workload.spec import Scenario

USERS_TIMEOUT_S = 15.0
FILL_UP_TRIES = 3
MAX_SPAWN_RATE = 100.0  # Locust warns beyond it


class Spawning:
    def __init__(self, environment: Environment, workers: Workers) -> None:
        self._environment = environment
        self._runner: LocalRunner | MasterRunner = environment.runner  # type: ignore[assignment]
        self._workers = workers
        self._current: Scenario | None = None
        self.done = Event()

    def reset(self, first: Scenario | None) -> None:
        self._current = first
        self.done.clear()

    def wanted_classes(self) -> Classes:
        """The user classes to spawn now."""
        loaded = list(self._environment.user_classes)
        return classes_for(self._current.name, loaded) if self._current else loaded

    @property
    def users(self) -> int:
        """As many as Locust is to run, of all classes."""
        return self._runner.target_user_count

    @property
    def ours(self) -> int:
        """As many of them as can send this scenario's requests, by Locust's dispatcher: its weights and fixed counts decide."""
        return sum(count for name, count in self._workers.given().items() if self._is_ours(name))

    def foreign(self) -> dict[str, int]:
        """Users of classes that are not ours, by class."""
        ours = {cls.__name__ for cls in self._environment.user_classes if is_ours(cls)}
        return {name: count for name, count in self._workers.given().items() if count and name not in ours}

    def check_ours(self) -> None:
        """BadInput if users are there and none of them is ours."""
        self.done.wait()
        if self.users and not self.ours:
            others = ", ".join(f"{count} {name}" for name, count in self.foreign().items())
            raise BadInput(
                f"none of the {self.users} users is a KVCacheUser (they are {others}): nobody would send the plan. Give more users "
                "(-u), or set weight or fixed_count of the classes"
            )

    def respawn(self, users: int, rate: float) -> None:
        self.done.clear()
        self._runner.start(users, rate)
        self.done.wait(USERS_TIMEOUT_S + users / rate)  # never without a worker: what is missing is counted afterwards

    def change_users(self, users: int) -> None:
        """So many users from now on; between rounds only, as users that go end their open streams."""
        self.done.wait()
        if users != self._runner.target_user_count:
            self.respawn(users, min(MAX_SPAWN_RATE, float(max(users, self._runner.target_user_count))))

    def switch_to(self, scenario: Scenario) -> int:
        """Spawned users of this scenario's class: at the start Locust spawns them, later they replace the last scenario's.

        The number of users that did not start, or are on another worker than planned.
        """
        self.done.wait()
        before = self.wanted_classes()
        self._current = scenario
        if self.wanted_classes() != before:
            users, rate = self._runner.target_user_count, float(self._environment.parsed_options.spawn_rate or 1)  # type: ignore[union-attr]
            self.respawn(0, min(MAX_SPAWN_RATE, max(rate, float(users))))
            self.respawn(users, rate)
        return self.wait()

    def settle(self) -> int:
        """Between rounds: give users to workers that have come, and move those of workers that have gone."""
        dispatcher = self._runner._users_dispatcher
        if isinstance(dispatcher, ScenarioDispatcher) and dispatcher.settle():
            users = self._runner.target_user_count
            self.respawn(users, float(max(users, 1)))
            return self.wait()
        return 0

    @property
    def planned(self) -> int:
        """Users of ours that the round should have: all that Locust is to run, but those of classes that are not ours."""
        return max(0, self.users - sum(self.foreign().values()))

    def fill_up(self) -> int:
        """Between rounds: the users of workers that were lost spawn on those that are there. The number that is still missing."""
        dispatcher = self._runner._users_dispatcher
        for _ in range(FILL_UP_TRIES):
            missing = self.planned - sum(self.by_worker().values())
            if missing <= 0 or not self._workers.connected():
                return max(0, missing)
            if isinstance(dispatcher, ScenarioDispatcher):
                dispatcher.settle()
            self.respawn(self.users, min(MAX_SPAWN_RATE, float(max(self.users, 1))))
            self.wait()
        return max(0, self.planned - sum(self.by_worker().values()))

    def refuse(self, worker: str) -> None:
        """A worker that came late and cannot be used."""
        dispatcher = self._runner._users_dispatcher
        assert isinstance(dispatcher, ScenarioDispatcher)
        dispatcher.refuse(worker)

    def wait(self) -> int:
        """Until the workers' reports are here, else the deal would follow old counts; the number of users still missing."""
        deadline_s = time.monotonic() + USERS_TIMEOUT_S
        while (missing := self._workers.users_not_reported(self._is_ours)) and time.monotonic() < deadline_s:
            gevent.sleep(0.05)
        return missing

    def by_worker(self) -> dict[str, int]:
        """Users that can send this scenario's requests, by worker."""
        return self._workers.users(self._is_ours)

    def _is_ours(self, class_name: str) -> bool:
        return class_name in {cls.__name__ for cls in self.wanted_classes() if is_ours(cls)}
