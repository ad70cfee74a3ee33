"""Measures how late this process's event loop runs: a short sleep over and over, and the worst delay since any moment."""

from __future__ import annotations

import bisect
import time

import gevent

INTERVAL_S = 0.01


class LagMonitor:
    """The worst loop delay since any moment, in memory that stays small: only delays that no later one exceeds are kept."""

    def __init__(self) -> None:
        self._at_s: list[float] = []
        self._lag_ms: list[float] = []  # decreasing
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._watch)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def _watch(self) -> None:
        while True:
            due_s = time.monotonic() + INTERVAL_S
            gevent.sleep(INTERVAL_S)
            now_s = time.monotonic()
            self.add(now_s, (now_s - due_s) * 1000)

    def add(self, at_s: float, lag_ms: float) -> None:
        while self._lag_ms and self._lag_ms[-1] <= lag_ms:
            self._lag_ms.pop()
            self._at_s.pop()
        self._at_s.append(at_s)
        self._lag_ms.append(lag_ms)
        if len(self._at_s) > 10_000:
            del self._at_s[:5_000], self._lag_ms[:5_000]

    def worst_since_ms(self, since_s: float) -> float | None:
        """The largest delay at or after `since_s` (monotonic), None if the monitor has not looked since. Of a delay that had begun before,
        such as a garbage collection ahead of a round, only the part after `since_s` counts: it kept no later stream waiting for longer."""
        index = bisect.bisect_left(self._at_s, since_s)
        if index == len(self._at_s):
            return None
        worst_ms = 0.0
        for place in range(index, len(self._at_s)):
            lag_ms, after_ms = self._lag_ms[place], (self._at_s[place] - since_s) * 1000
            worst_ms = max(worst_ms, min(lag_ms, after_ms))
            if lag_ms <= after_ms:  # later delays are smaller, and lie after `since_s` as a whole
                break
        return worst_ms
