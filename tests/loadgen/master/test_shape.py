"""The clock of a user's shape stands still until its round begins, however late Locust asks."""

from types import SimpleNamespace
from typing import Any

import gevent
from locust import LoadTestShape

from locust_kvcache.loadgen.master.shape import RoundShape


class Steps(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        run_time_s = self.get_run_time()
        return (1, 10.0) if run_time_s < 0.2 else (4, 10.0) if run_time_s < 0.4 else None


def test_the_first_step_holds_until_the_round_begins() -> None:
    steps: Any = Steps()
    shape = RoundShape(SimpleNamespace(shape_class=steps))  # type: ignore[arg-type]
    asked: list[tuple[int, float] | None] = []

    def late_locust() -> None:
        for _ in range(2):
            gevent.sleep(0.3)  # later than the first step lasts
            asked.append(steps.tick())

    waiting = gevent.spawn(late_locust)
    shape.first_step()
    waiting.join()
    gevent.sleep(0.3)
    assert [*asked, steps.tick()] == [(1, 10.0)] * 3
    shape.begin()
    assert steps.tick() == (1, 10.0)
    steps.start_time -= 0.3
    assert steps.tick() == (4, 10.0)
    steps.start_time -= 0.3
    assert steps.tick() == (4, 10.0), "the last step stays"
