"""Runs callbacks in the order of their due time, under a virtual clock or the kernel's.

`now_s` is the due time of the event that runs, not the moment at which the process came round to it: a late process sends late, but what
it planned stays exact.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable
from typing import Any


class Simulation:
    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = 0
        self.on_earlier: Callable[[float], None] | None = None  # told when a new event is due before all others

    def at(self, due_s: float, run: Callable[[Any], None], argument: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(due_s, self.now_s), self._count, run, argument))
        if self.on_earlier is not None and self._heap[0][1] == self._count:
            self.on_earlier(due_s)

    def next_due_s(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run_until(self, now_s: float, most: int = sys.maxsize) -> None:
        """Run all events due by now, also those that they add; then it is now. With `most`, the rest stays due and time behind."""
        heap = self._heap
        while heap and heap[0][0] <= now_s:
            if not most:
                return
            most -= 1
            self.now_s, _, run, argument = heapq.heappop(heap)
            run(argument)
        self.now_s = max(self.now_s, now_s)

    def run_all(self, limit_s: float = float("inf")) -> None:
        """The virtual clock: jump from event to event until nothing is left, or `limit_s`."""
        while self._heap and self._heap[0][0] <= limit_s:
            self.run_until(self._heap[0][0])
