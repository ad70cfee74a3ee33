"""Makes Locust spawn only the user classes of the current scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode

from locust_kvcache.loadgen.master.user_classes import Classes


class ScenarioDispatcher(UsersDispatcher):
    """Locust's dispatcher, asked each time which classes are wanted now.

    Workers that come or go in mid-round wait until it is over: moving users would end their open streams.
    """

    def __init__(self, *, wanted: Callable[[], Classes], settled: Callable[[], bool], **kwargs: Any) -> None:
        self._wanted = wanted
        self._settled = settled
        self._come: dict[str, WorkerNode] = {}
        self._gone: dict[str, WorkerNode] = {}
        self._changed = False
        super().__init__(**kwargs)

    def new_dispatch(self, target_user_count: int, spawn_rate: float, user_classes: Classes | None = None) -> None:
        super().new_dispatch(target_user_count, spawn_rate, user_classes or self._wanted() or None)

    def add_worker(self, worker_node: WorkerNode) -> None:
        if self._settled():
            self._changed = True
            super().add_worker(worker_node)
        elif self._gone.pop(worker_node.id, None) is None:
            self._come[worker_node.id] = worker_node

    def remove_worker(self, worker_node: WorkerNode) -> None:
        if self._settled():
            self._changed = True
            super().remove_worker(worker_node)
        elif self._come.pop(worker_node.id, None) is None:
            self._gone[worker_node.id] = worker_node

    def refuse(self, worker: str) -> None:
        """A worker that came in mid-round is not to be used."""
        self._come.pop(worker, None)

    def settle(self) -> bool:
        """Between rounds: take note of who came and went; True if users are to be dealt out anew."""
        come, gone = list(self._come.values()), list(self._gone.values())
        changed, self._changed = self._changed, False
        self._come, self._gone = {}, {}
        for node in gone:
            super().remove_worker(node)
        for node in come:
            super().add_worker(node)
        return bool(come or gone or changed)
