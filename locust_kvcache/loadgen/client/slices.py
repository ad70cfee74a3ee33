"""Spreads work over the event loop: at most SLICE_S of it between two looks at the sockets.

Hundreds of streams that end together would otherwise be handled in one uninterrupted piece, while the chunks of all other streams
pile up in their sockets. A request is sent in a first turn; what can wait, such as parsing an answer, takes a later turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import cache, partial

import gevent
from gevent.hub import Waiter

SLICE_S = 0.001
PRESSED_SLICE_S = 0.0004  # while more waits in the sockets than one look took
PRESSED_LATER_S = 0.005  # between two later pieces then: reading answers can wait, chunks that wait lose their stamps


class Slices:
    """One per process that runs users, made after any fork."""

    def __init__(self) -> None:
        self._first: deque[Callable[[], object]] = deque()
        self._later: deque[Callable[[], object]] = deque()
        self.pressed = False  # the sockets hold more than the last look took
        self._running = False
        self._later_at_s = 0.0  # when a later piece was done last
        self._timer = gevent.get_hub().loop.timer(0.0)  # fires once per iteration of the loop, which looks at the sockets too

    @property
    def busy(self) -> bool:
        return bool(self._first or self._later)

    def call(self, act: Callable[[], object], later: bool = False) -> None:
        """Have the event loop call `act`, in the order of the calls; `later`: after everything that is not."""
        (self._later if later else self._first).append(act)
        if not self._timer.active and not self._running:
            self._timer.start(self._run)

    def turn(self, later: bool = False) -> None:
        """Block the calling greenlet until it may go on; it may already where the loop has just let it go on."""
        if self._running and not later:
            return
        waiter = Waiter()
        self.call(partial(waiter.switch, None), later)
        waiter.get()

    def _run(self) -> None:
        """In the event loop: one piece at least, and no new one after a slice. Later pieces take what the others leave of it, and one at
        least, so that none waits for ever; while the sockets press, one now and then."""
        self._running = True
        now_s = time.monotonic()
        until_s = now_s + (PRESSED_SLICE_S if self.pressed else SLICE_S)
        try:
            while self._first and time.monotonic() < until_s:
                self._first.popleft()()
            if self.pressed and now_s - self._later_at_s < PRESSED_LATER_S:
                return
            while self._later:
                self._later_at_s = now_s
                self._later.popleft()()
                if self._first or self.pressed or time.monotonic() >= until_s:
                    break
        finally:
            self._running = False
            if self.busy:
                self._timer.start(self._run)


@cache
def slices() -> Slices:
    """The process's slices, made when they are first needed."""
    return Slices()
