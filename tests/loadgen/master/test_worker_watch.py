"""A round's workers that fall silent: told once, back without loss, lost for good after 15 s or when they leave."""

from __future__ import annotations

import time
from typing import Any

import pytest

from locust_kvcache.loadgen.master.worker_watch import LOST_AFTER_S, LOST_BEFORE_S, Change, WorkerLost, WorkerWatch


class Known:
    """Two workers, of which some answer, and some have left."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.left: set[str] = set()

    def connected(self) -> list[str]:
        return sorted({"a", "b"} - self.silent - self.left)

    def known(self) -> set[str]:
        return {"a", "b"} - self.left


class Clock:
    now_s = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock


def watch_of(workers: Known, started: bool) -> Any:
    watch = WorkerWatch(workers)  # type: ignore[arg-type]
    return lambda: list(watch.changes({"a", "b"}, started))


def test_a_silent_worker_is_told_once_and_may_come_back(clock: Clock) -> None:
    workers = Known()
    look = watch_of(workers, started=True)
    assert look() == []
    workers.silent = {"b"}
    assert look() == [("b", Change.SILENT)]
    clock.now_s += LOST_AFTER_S
    assert look() == []
    workers.silent = set()
    assert (look(), look()) == ([("b", Change.BACK)], [])


def test_a_worker_is_lost_once_after_its_time_or_at_once_where_it_has_left(clock: Clock) -> None:
    workers = Known()
    look = watch_of(workers, started=True)
    workers.silent = {"b"}
    look()
    clock.now_s += LOST_AFTER_S + 0.1
    assert (look(), look()) == ([("b", Change.LOST)], [])
    workers.left = {"a"}
    assert (look(), look()) == ([("a", Change.SILENT), ("a", Change.LOST)], [])


def test_before_the_round_has_begun_nothing_is_mended(clock: Clock) -> None:
    workers = Known()
    look = watch_of(workers, started=False)
    workers.silent = {"b"}
    assert look() == []
    clock.now_s += LOST_BEFORE_S + 0.1
    with pytest.raises(WorkerLost, match="b"):
        look()
