"""Receives for all open streams with one epoll set, and gives each piece to its owner with the kernel's receive stamp.

gevent watches the epoll set itself, so the event loop does its own work once per batch and not once per chunk. No greenlet is
switched to before a response is over, and then in a slice of its own (slices.py).
"""

from __future__ import annotations

import select
import socket as std_socket
import struct
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

import gevent
from gevent import socket
from gevent.hub import Waiter
from gevent.monkey import get_original

from locust_kvcache.loadgen.client.slices import slices

SO_TIMESTAMPNS = 35  # Linux; Python's socket module does not name it
RECEIVE_BYTES = 65536
MAX_KERNEL_AGE_NS = 10_000_000_000
MIN_KERNEL_AGE_NS = -10_000_000  # a piece may arrive while the batch is read, after the clocks were
NAP_STREAMS = 64  # from so many open streams on, the process waits NAP_S before each batch: larger batches, less CPU per piece,
NAP_S = 0.0006  # and no measured time changes, since the kernel has stamped what waits
WAITED_S = 0.0002  # a poll of the event loop that takes longer has blocked
BATCH = 96  # pieces between two turns of the loop, about a millisecond's work; the epoll set gives the others next
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY = std_socket.CMSG_SPACE(_TIMESPEC.size)

IDLE_CHECK_S = 0.25


class Owner(Protocol):
    stamp_s: float  # receive stamp of its last piece, monotonic

    def take(self, stamp_s: float, data: bytes) -> bool:
        """One received piece; True: the response is over."""


class Poller:
    """One per process that runs users, made after any fork."""

    def __init__(self) -> None:
        self._epoll = get_original("select", "epoll")()  # gevent takes epoll away, since waiting in it would block the loop
        self._open: dict[int, tuple[Callable[..., Any], Callable[[float, bytes], bool], Waiter]] = {}
        self._idle: dict[int, tuple[Owner, float]] = {}  # (owner, idle timeout in s)
        self._nap = get_original("time", "sleep")
        self._slices = slices()
        self.emptied_at_s = 0.0  # monotonic; nothing was left unread then: what is received now came after it
        self._full = False  # the last batch held all that one may hold: more waits
        loop = gevent.get_hub().loop
        self._idle_timer = loop.timer(IDLE_CHECK_S, repeat=IDLE_CHECK_S)
        self._watcher = loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._receive)
        self._before_poll, self._after_poll = loop.prepare(ref=False), loop.check(ref=False)
        self._polls_at_s = 0.0

    def wait(self, sock: socket.socket, owner: Owner, idle_timeout_s: float | None) -> None:
        """Give `owner` every piece that `sock` receives until it says that the response is over; its errors are raised here."""
        fd, waiter = sock.fileno(), Waiter()
        self._open[fd] = (sock._sock.recvmsg, owner.take, waiter)  # the plain non-blocking socket under gevent's
        if idle_timeout_s is not None:
            self.limit(fd, owner, idle_timeout_s)
        if not self._before_poll.active:
            self._before_poll.start(self._note_poll)
            self._after_poll.start(self._note_wake)
        self._epoll.register(fd, select.EPOLLIN)
        try:
            waiter.get()
        finally:
            self._forget(fd)

    def limit(self, fd: int, owner: Owner, idle_timeout_s: float) -> None:
        """From now on an open response is given up after so long without a piece."""
        self._idle[fd] = (owner, idle_timeout_s)
        self._idle_timer.start(self._end_idle)

    def _forget(self, fd: int) -> None:
        self._idle.pop(fd, None)
        if self._open.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _note_poll(self) -> None:
        self._polls_at_s = time.monotonic()

    def _note_wake(self) -> None:
        """The loop has waited for its sockets: nothing was left unread when the first of them woke it."""
        woken_s = time.monotonic()
        if woken_s - self._polls_at_s > WAITED_S and not self._full:
            self.emptied_at_s = woken_s
        if not self._open:
            self._before_poll.stop()
            self._after_poll.stop()

    def _end_idle(self) -> None:
        """Give up responses that have received nothing for their idle timeout: looked at now and then, not timed per piece."""
        now_s = time.monotonic()
        for fd, (owner, limit_s) in list(self._idle.items()):
            if now_s - owner.stamp_s > limit_s:
                waiter = self._open[fd][2]
                self._forget(fd)
                waiter.throw(TimeoutError(f"nothing received for {limit_s:g} s"))
        if not self._idle:
            self._idle_timer.stop()

    def _receive(self) -> None:
        """Take one piece from each of up to BATCH readable sockets. Runs in the event loop: an error goes to the greenlet that waits.

        The kernel stamps by the wall clock. Both clocks are read once per batch, so their drift cannot build up; a stamp that is not of
        the last seconds means that the wall clock was set, and the process clock stands in.
        """
        opened, unpack, receive_bytes, ancillary_bytes = self._open, _TIMESPEC.unpack, RECEIVE_BYTES, _ANCILLARY
        if len(opened) >= NAP_STREAMS and not self._full and not self._slices.busy:
            self._nap(NAP_S)
        looked_ns = time.monotonic_ns()
        ready = self._epoll.poll(0, BATCH)
        now_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        for fd, _ in ready:
            recvmsg, take, waiter = opened[fd]
            try:
                data, ancillary, _, _ = recvmsg(receive_bytes, ancillary_bytes)
                stamp_ns = now_ns
                if ancillary:
                    seconds, nanoseconds = unpack(ancillary[0][2])
                    age_ns = wall_ns - seconds * 1_000_000_000 - nanoseconds
                    if MIN_KERNEL_AGE_NS < age_ns < MAX_KERNEL_AGE_NS:
                        stamp_ns -= age_ns
                if take(stamp_ns * 1e-9, data):
                    self._forget(fd)
                    self._slices.call(partial(waiter.switch, None))
            except BlockingIOError:
                continue
            except Exception as error:
                self._forget(fd)
                self._slices.call(partial(waiter.throw, error))
        self._full = self._slices.pressed = len(ready) == BATCH and bool(opened)
        if not self._full:
            self.emptied_at_s = looked_ns * 1e-9


@cache
def poller() -> Poller:
    """The process's poller, made when its first stream is opened."""
    return Poller()
