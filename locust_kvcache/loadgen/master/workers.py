"""Keeps track of the worker processes on the master: connections, users, messages."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import gevent
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner

from locust_kvcache.loadgen.options.processes import FORKING
from locust_kvcache.loadgen.protocol.code_fingerprint import differences, fingerprint
from locust_kvcache.loadgen.protocol.messages import AskFiles, AskTime, Message
from locust_kvcache.loadgen.typed_locust import worker_index

log = logging.getLogger("kvcache")
LOCAL = "local"
HELLO_TIMEOUT_S = 5.0
CLOCK_QUESTIONS = 5  # the answer that came back soonest counts
CLOCK_TIMEOUT_S = 1.0


class Workers:
    """`LocalRunner` counts as one worker, so that nothing else asks which it is."""

    def __init__(self, runner: LocalRunner | MasterRunner) -> None:
        self._runner = runner
        self._files: dict[str, dict[str, str]] = {}  # by worker, what it said of its checkout
        self._strangers: set[str] = set()
        self._own_files = fingerprint()
        self._asked_at_s: dict[str, float] = {}  # wall clock
        self._clocks: dict[str, tuple[float, float]] = {}  # by worker: (round trip, its clock's offset), both in s

    def connected(self) -> list[str]:
        """Workers that answer; one that is silent for about 4 s is missing until it speaks again."""
        if isinstance(self._runner, LocalRunner):
            return [LOCAL]
        return [c.id for c in self._runner.clients.all if c.state != STATE_MISSING]

    def known(self) -> set[str]:
        """Connected and missing ones; a worker that has left by itself is not among them."""
        return {LOCAL} if isinstance(self._runner, LocalRunner) else {client.id for client in self._runner.clients.all}

    def users(self, is_ours: Callable[[str], bool]) -> dict[str, int]:
        """Users by worker, of the classes whose names are ours."""
        if isinstance(self._runner, LocalRunner):
            counts = {LOCAL: self._runner.user_classes_count}
        else:
            counts = {worker: self._runner.clients[worker].user_classes_count for worker in self.connected()}
        return {worker: sum(n for name, n in by_class.items() if is_ours(name)) for worker, by_class in counts.items()}

    def given(self) -> Counter[str]:
        """Users by class, as Locust's dispatcher gave them to all workers together."""
        found: Counter[str] = Counter()
        for by_class in self._given_by_worker().values():
            found.update(by_class)
        return found

    def _given_by_worker(self) -> dict[str, dict[str, int]]:
        dispatcher = self._runner._users_dispatcher
        return dispatcher._users_on_workers if dispatcher is not None else {}

    def users_not_reported(self, is_ours: Callable[[str], bool]) -> int:
        """Users by which the reports still differ from what Locust's dispatcher gave to each worker."""
        given = {worker: sum(n for name, n in of.items() if is_ours(name)) for worker, of in self._given_by_worker().items()}
        return sum(abs(given.get(worker, 0) - count) for worker, count in self.users(is_ours).items())

    def name(self, worker: str) -> str:
        """A worker's name as its own records carry it: host#index."""
        if isinstance(self._runner, LocalRunner):
            return LOCAL
        return f"{worker.rsplit('_', 1)[0]}#{worker_index(self._runner, worker)}"

    def give_up(self, worker: str) -> None:
        """Forget a lost worker; else Locust would deal out all users anew a minute later, in the middle of a round."""
        if isinstance(self._runner, MasterRunner) and worker in self._runner.clients:
            del self._runner.clients[worker]

    # -- the same code everywhere

    def note_files(self, worker: str, files: dict[str, str], command: str = "") -> None:
        self._files[worker] = files
        if command and command != FORKING.token:
            self._strangers.add(worker)

    def _send_strangers_away(self) -> None:
        """Workers that another command has started for itself, and that came to this master by the port."""
        for worker in self._strangers & self.known():
            log.error(
                "worker %s was started by the --processes of another command, which uses the same port; it is rejected. Give each "
                "command its own --master-bind-port",
                self.name(worker),
            )
            self.dismiss(worker)

    def running_other_code(self) -> dict[str, str]:
        """Which files differ, by worker. Asks those that were not asked yet; one that does not answer is taken to differ."""
        asked = [worker for worker in self.connected() if worker not in self._files]
        for worker in asked:
            self.send(worker, AskFiles())
        deadline_s = time.monotonic() + HELLO_TIMEOUT_S
        while not self._files.keys() >= set(asked) & set(self.connected()) and time.monotonic() < deadline_s:
            gevent.sleep(0.02)
        self._send_strangers_away()
        found = {worker: differences(self._own_files, self._files.get(worker, {})) for worker in self.connected()}
        return {worker: text for worker, text in found.items() if text}

    # -- clocks

    def note_clock(self, worker: str, at_s: float) -> None:
        """A worker's wall clock, as it answered: half of the round trip is the most that the offset can be wrong by."""
        now_s, asked_at_s = time.time(), self._asked_at_s.pop(worker, None)
        if asked_at_s is not None:
            found = (now_s - asked_at_s, at_s - (now_s + asked_at_s) / 2)
            self._clocks[worker] = min(found, self._clocks.get(worker, found))

    def compare_clocks(self) -> None:
        """Ask those workers for their clocks that were not asked yet; no request is open meanwhile."""
        if isinstance(self._runner, LocalRunner):
            return
        new = [worker for worker in self.connected() if worker not in self._clocks]
        for _ in range(CLOCK_QUESTIONS):
            for worker in new:
                self._asked_at_s[worker] = time.time()
                self.send(worker, AskTime())
            deadline_s = time.monotonic() + CLOCK_TIMEOUT_S
            while self._asked_at_s and time.monotonic() < deadline_s:
                gevent.sleep(0.002)
            self._asked_at_s.clear()

    def clock_offset_s(self, worker: str) -> float:
        """How far a worker's wall clock is ahead of the master's; 0 for one that did not say."""
        return self._clocks.get(worker, (0.0, 0.0))[1]

    def clocks(self) -> dict[str, float]:
        """Offsets by the name that records carry."""
        return {self.name(worker): round(offset_s, 4) for worker, (_, offset_s) in self._clocks.items() if worker in self.known()}

    def dismiss(self, worker: str) -> None:
        """A worker that cannot be used leaves, before users are given to it."""
        self._runner.send_message("quit", {}, client_id=worker)
        self.give_up(worker)

    def send(self, worker: str, message: Message) -> None:
        self._runner.send_message(message.kind, message.to_wire(), client_id=worker)
