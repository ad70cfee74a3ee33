"""Plays a user's LoadTestShape in each timed round: its clock begins with the round, and its end does not end the test."""

from __future__ import annotations

from typing import Any

import gevent
from locust.env import Environment

SETTLE_S = 1.5  # Locust asks a shape about once a second


class RoundShape:
    """The shape of a test; does nothing where there is none."""

    def __init__(self, environment: Environment) -> None:
        self._shape: Any = environment.shape_class

    @property
    def name(self) -> str | None:
        return type(self._shape).__name__ if self._shape is not None else None

    def first_step(self) -> None:
        """Before a timed round is dealt: the users of the shape's first step are there."""
        if self._shape is None:
            return
        if not hasattr(self._shape, "kv_tick"):
            self._shape.kv_tick = self._shape.tick
            self._shape.tick = self._tick
        self._shape.reset_time()
        gevent.sleep(SETTLE_S)

    def begin(self) -> None:
        """The round's load begins."""
        if self._shape is not None:
            self._shape.reset_time()

    def _tick(self) -> Any:
        """The last step stays until the rounds are over: where a shape ends, Locust would end the test."""
        now = self._shape.kv_tick()
        self._shape.kv_last = now or getattr(self._shape, "kv_last", None)
        return self._shape.kv_last
