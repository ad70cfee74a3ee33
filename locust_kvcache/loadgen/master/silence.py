"""Tells for how long a round has had no sign of the server, for the progress line: the pace so far says nothing then."""

from __future__ import annotations

import time

from locust_kvcache.loadgen.console import Progress
from locust_kvcache.loadgen.protocol.messages import AWAY, ServerGone

LEAST_S = 10.0  # without an ended request, before it is said
TIMES_THE_LONGEST = 3  # gap between two ends so far


class Silence:
    def __init__(self) -> None:
        self._away_since_s: dict[str, float] = {}  # by worker, on this process's clock
        self._done, self._changed_s, self._longest_s = 0, time.monotonic(), 0.0

    def begin(self) -> None:
        """The load begins now."""
        self._changed_s = time.monotonic()

    def note(self, worker: str, message: ServerGone) -> None:
        if message.state == AWAY:
            self._away_since_s[worker] = time.monotonic() - message.seconds
        else:
            self._away_since_s.pop(worker, None)

    def forget(self, worker: str) -> None:
        """A lost worker says no more that the server is back."""
        self._away_since_s.pop(worker, None)

    def note_done(self, done: int) -> None:
        """So many requests have ended."""
        if done != self._done:
            now_s = time.monotonic()
            self._longest_s = max(self._longest_s, now_s - self._changed_s)
            self._done, self._changed_s = done, now_s

    def said_in(self, progress: Progress) -> Progress:
        """With how long the server is away, as workers say it, or how long no request has ended where that is longer than usual."""
        now_s = time.monotonic()
        if self._away_since_s:
            return progress.silent(now_s - min(self._away_since_s.values()), away=True)
        silent_s = now_s - self._changed_s
        usual_s = max(LEAST_S, TIMES_THE_LONGEST * self._longest_s)
        return progress.silent(silent_s, away=False) if silent_s > usual_s else progress
