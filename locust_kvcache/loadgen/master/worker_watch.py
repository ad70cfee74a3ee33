"""Watches the workers of a round: which fell silent, came back, or are lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum, auto

from locust_kvcache.loadgen.master.workers import Workers

LOST_AFTER_S = 15.0  # a worker that is missing for so long is given up; until then it may come back and go on
LOST_BEFORE_S = 5.0  # the same before the round has begun: nothing is lost but time


class WorkerLost(Exception):
    """A worker was lost before the round had begun: nothing was sent, and users can be given to others first."""


class Change(Enum):
    BACK = auto()  # it was silent for a while
    SILENT = auto()
    LOST = auto()  # it has left, or was silent for too long


class WorkerWatch:
    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._missing_since_s: dict[str, float] = {}
        self.lost: set[str] = set()

    def changes(self, dealt: set[str], started: bool) -> Iterator[tuple[str, Change]]:
        """What has happened to workers that have sessions, since the last look. WorkerLost where the round has not begun: then nothing has
        to be mended."""
        connected, now_s = set(self._workers.connected()), time.monotonic()
        for worker in dealt - self.lost:
            if worker in connected:
                if self._missing_since_s.pop(worker, None) is not None and started:
                    yield worker, Change.BACK
                continue
            is_new = worker not in self._missing_since_s
            silent_s = now_s - self._missing_since_s.setdefault(worker, now_s)
            if is_new and started:
                yield worker, Change.SILENT
            if worker in self._workers.known() and silent_s <= (LOST_AFTER_S if started else LOST_BEFORE_S):
                continue
            if not started:
                raise WorkerLost(worker)
            self.lost.add(worker)
            yield worker, Change.LOST
