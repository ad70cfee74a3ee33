"""Hands released sessions to users that are free; users block here at the barrier between rounds."""

from __future__ import annotations

import time

import gevent
from gevent.queue import Queue

from locust_kvcache.loadgen.client.stream import StreamStopped
from locust_kvcache.loadgen.worker.share import Assignment


class SessionQueue:
    def __init__(self) -> None:
        self._queue: Queue[Assignment | None] = Queue()
        self._open: set[gevent.Greenlet] = set()  # users with a session
        self.waiting = 0  # users without

    def __len__(self) -> int:
        return int(self._queue.qsize())

    def put(self, work: Assignment) -> None:
        self._queue.put(work)

    def take(self) -> Assignment | None:
        """Blocks; None: the test is stopping."""
        self.waiting += 1
        try:
            work: Assignment | None = self._queue.get()
        finally:
            self.waiting -= 1
        if work is not None:
            self._open.add(gevent.getcurrent())
        return work

    def ended(self) -> None:
        """The calling user is through with its session."""
        self._open.discard(gevent.getcurrent())

    def clear(self) -> None:
        """What nobody took is not to be sent."""
        while len(self):
            self._queue.get()

    def close(self, timeout_s: float) -> list[Assignment]:
        """Users that wait go on with nothing, those with a session get so long to end it, and are stopped then. What nobody took."""
        left = []
        while len(self):
            if (work := self._queue.get()) is not None:
                left.append(work)
        for _ in range(self.waiting):
            self._queue.put(None)
        self._wait_for_open(timeout_s)
        for greenlet in list(self._open):
            # not kill(): it forgets the greenlet's arguments, by which Locust counts and later stops its users
            gevent.get_hub().loop.run_callback(greenlet.throw, StreamStopped)
        self._wait_for_open(2.0)
        return left

    def _wait_for_open(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while self._open and time.monotonic() < deadline_s:
            gevent.sleep(0.02)
