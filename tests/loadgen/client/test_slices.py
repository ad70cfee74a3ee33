"""Work on the event loop in slices: order, the budget of a slice, and that later work is never starved."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import itertools
import time
from functools import partial

import gevent

from locust_kvcache.loadgen.client.slices import PRESSED_LATER_S, SLICE_S, Slices


def test_first_calls_go_before_later_ones_and_each_keeps_its_order() -> None:
    slices, heard = Slices(), []
    slices.call(partial(heard.append, "later 1"), later=True)
    for name in ("a", "b", "c"):
        slices.call(partial(heard.append, name))
    slices.call(partial(heard.append, "later 2"), later=True)
    gevent.sleep(0.02)
    assert heard == ["a", "b", "c", "later 1", "later 2"]
    assert not slices.busy


def test_the_loop_looks_at_its_sockets_between_slices() -> None:
    """Twenty pieces of a slice each: a timer of the same loop fires between them, and not only after the last."""
    slices, heard = Slices(), []

    def long_piece() -> None:
        until_s = time.monotonic() + SLICE_S
        while time.monotonic() < until_s:
            pass
        heard.append("piece")

    for _ in range(20):
        slices.call(long_piece)
    while slices.busy:
        gevent.sleep(SLICE_S)
        heard.append("timer")
    assert heard.count("piece") == 20
    assert heard.index("timer") < 8


def test_later_work_goes_on_beside_first_work_without_end() -> None:
    slices, done, stop = Slices(), [], []

    def again() -> None:
        until_s = time.monotonic() + SLICE_S
        while time.monotonic() < until_s:
            pass
        if not stop:
            slices.call(again)

    slices.call(again)
    slices.call(partial(done.append, 1), later=True)
    gevent.sleep(0.05)
    stop.append(True)
    assert done == [1]


def test_a_greenlet_waits_for_its_turn_and_one_that_is_killed_costs_nothing() -> None:
    slices, heard = Slices(), []

    def user(name: str) -> None:
        slices.turn()
        heard.append(name)
        slices.turn()  # it has been let go on in this very slice

    greenlets = [gevent.spawn(user, name) for name in "abc"]
    gevent.sleep(0)
    greenlets[1].kill(block=False)
    gevent.joinall(greenlets, timeout=1)
    assert heard == ["a", "c"]
    assert not slices.busy


def test_while_the_sockets_press_later_work_waits_but_not_for_ever() -> None:
    slices = Slices()
    slices.pressed = True
    at_s: list[float] = []
    for _ in range(3):
        slices.call(lambda: at_s.append(time.monotonic()), later=True)
    gevent.sleep(20 * PRESSED_LATER_S)
    assert len(at_s) == 3
    assert min(after - before for before, after in itertools.pairwise(at_s)) > 0.9 * PRESSED_LATER_S
