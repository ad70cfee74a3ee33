"""Runs a simulation under the kernel's monotonic clock, with a timer that is true to tens of microseconds."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time

from locust_kvcache.emulator.simulation import Simulation

_ABSOLUTE, _MONOTONIC, _NONBLOCK_CLOEXEC = 1, 1, 0o2004000


EVENTS_PER_TURN = 500  # an overloaded emulator sends late, and says so, but still listens


class _TimerFd:
    """Linux's timerfd: epoll then wakes at the nanosecond asked for, where libuv's own timers know milliseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.timerfd_create(_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = (ctypes.c_long * 4)()

    def set(self, due_s: float) -> None:
        due_ns = max(1, int(due_s * 1e9))
        self._spec[2], self._spec[3] = divmod(due_ns, 1_000_000_000)
        self._libc.timerfd_settime(self.fd, _ABSOLUTE, self._spec, None)


class RealTime:
    """Runs a simulation's events when they are due. Call `sync` before anything from outside changes the simulation."""

    def __init__(self, simulation: Simulation, loop: asyncio.AbstractEventLoop) -> None:
        self.simulation, self._loop = simulation, loop
        self._armed_s = float("inf")
        self._running = False
        self._handle: asyncio.TimerHandle | None = None
        self._timer = _TimerFd() if sys.platform == "linux" else None
        if self._timer:
            loop.add_reader(self._timer.fd, self._fired)
        simulation.now_s = time.monotonic()
        simulation.on_earlier = self._earlier

    def sync(self) -> None:
        self._run()

    def _run(self) -> None:
        self._running = True
        try:
            self.simulation.run_until(time.monotonic(), EVENTS_PER_TURN)
        finally:
            self._running = False
            self._arm(self.simulation.next_due_s())

    def _fired(self) -> None:
        if self._timer:
            with contextlib.suppress(BlockingIOError):
                os.read(self._timer.fd, 8)
        self._armed_s = float("inf")
        self._run()

    def _earlier(self, due_s: float) -> None:
        if not self._running:
            self._arm(due_s)

    def _arm(self, due_s: float | None) -> None:
        if due_s is None or due_s == self._armed_s:
            return
        self._armed_s = due_s
        if self._timer:
            self._timer.set(due_s)
            return
        if self._handle:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0.0, due_s - time.monotonic()), self._fired)
