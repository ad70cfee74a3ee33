"""How long a round has had no sign of its server."""

from __future__ import annotations

import pytest

from locust_kvcache.loadgen.console import Progress
from locust_kvcache.loadgen.master import silence
from locust_kvcache.loadgen.master.silence import Silence
from locust_kvcache.loadgen.protocol.messages import AWAY, BACK, ServerGone

PROGRESS = Progress("cold_start, round 1", 60, 15, 0, 5.0)


class Clock:
    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(silence, "time", found)
    return found


def gone(seconds: float, state: str = AWAY) -> ServerGone:
    return ServerGone("run", "cold_start", 1, seconds, state, "refused")


def test_the_longest_of_the_workers_counts_until_it_is_back(clock: Clock) -> None:
    found = Silence()
    found.note("a", gone(2.0))
    found.note("b", gone(5.0))
    clock.now_s += 1.5
    assert found.said_in(PROGRESS) == PROGRESS.silent(6.5, away=True)
    found.note("b", gone(6.0, BACK))
    assert found.said_in(PROGRESS) == PROGRESS.silent(3.5, away=True)
    found.forget("a")  # the worker is lost
    assert found.said_in(PROGRESS) == PROGRESS


def test_a_server_that_takes_requests_and_answers_none(clock: Clock) -> None:
    found = Silence()
    found.begin()
    clock.now_s += 5.0
    found.note_done(1)  # the first after 5 s, the second after 4 s more: 15 s are three times the longest
    clock.now_s += 4.0
    found.note_done(2)
    clock.now_s += 15.0
    found.note_done(2)
    assert found.said_in(PROGRESS) == PROGRESS
    clock.now_s += 0.5
    assert found.said_in(PROGRESS) == PROGRESS.silent(15.5, away=False)


def test_seconds_of_quick_requests_are_not_silence(clock: Clock) -> None:
    found = Silence()
    found.begin()
    clock.now_s += 0.2
    found.note_done(9)
    clock.now_s += 9.0
    assert found.said_in(PROGRESS) == PROGRESS
