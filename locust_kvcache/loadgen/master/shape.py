"""Plays a user's LoadTestShape in each timed round: its clock begins with the round, and its end does not end the test."""

from __future__ import annotations

import time
from typing import Any

import gevent
from locust.env import Environment

TICKS = 2  # Locust asks a shape again when the users of its last answer are there
SETTLE_S = 30.0  # at most: Locust asks about once a second, and ramps in between


class RoundShape:
    """The shape of a test; does nothing where there is none."""

    def __init__(self, environment: Environment) -> None:
        self._shape: Any = environment.shape_class
        self._held: int | None = None  # ticks since the clock was held at the shape's first step

    @property
    def name(self) -> str | None:
        return type(self._shape).__name__ if self._shape is not None else None

    def first_step(self) -> None:
        """Before a timed round is dealt: the users of the shape's first step are there, and its clock stands until `begin`."""
        if self._shape is None:
            return
        if not hasattr(self._shape, "kv_tick"):
            self._shape.kv_tick = self._shape.tick
            self._shape.tick = self._tick
        self._held = 0
        deadline_s = time.monotonic() + SETTLE_S
        while self._held < TICKS and time.monotonic() < deadline_s:
            gevent.sleep(0.05)

    def begin(self) -> None:
        """The round's load begins."""
        if self._shape is not None:
            self._held = None
            self._shape.reset_time()

    def _tick(self) -> Any:
        """The last step stays until the rounds are over: where a shape ends, Locust would end the test."""
        if self._held is not None:
            self._held += 1
            self._shape.reset_time()
        now = self._shape.kv_tick()
        self._shape.kv_last = now or getattr(self._shape, "kv_last", None)
        return self._shape.kv_last
