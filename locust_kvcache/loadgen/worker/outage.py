"""Holds a worker's requests back while the server cannot be reached: the rest of a round would fail within milliseconds otherwise.

It begins with a request whose connection is refused or cannot be made, and ends when one can be made again, or with the run at
--outage-limit. Requests that fail in it, at most one per user, keep their record as failures; what was open breaks as it breaks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent
import httptools
from gevent.event import Event

from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.target import Target
from locust_kvcache.loadgen.protocol.messages import AWAY, BACK, TOO_LONG

log = logging.getLogger("kvcache")
UNREACHABLE = ("refused", "connect")  # statuses of requests of which no byte was sent
PROBE_INTERVAL_S = 0.5
PROBE_TIMEOUT_S = 5.0
TELL_AGAIN_S = 1.0
Told = Callable[[float, str, str], None]  # seconds, AWAY | BACK | TOO_LONG, what stands in the way


class Outage:
    def __init__(self) -> None:
        self._reachable = Event()
        self._reachable.set()
        self._number = 0  # a probe of an earlier one, or of a test that was stopped, is not to end this one

    def wait(self) -> None:
        """Blocks while the server cannot be reached; who goes on asks whether the test is stopping."""
        self._reachable.wait()

    def begin(self, target: Target, limit_s: float, error: str, tell: Told) -> None:
        """A request could not be sent. `tell` is called after each probe, and once when the server is back; from `limit_s` on again and
        again too, since what is told between two rounds is not heard."""
        if limit_s and self._reachable.is_set():
            self._reachable.clear()
            self._number += 1
            log.warning(
                "%s cannot be reached (%s): the round pauses for at most %g s (--outage-limit)", target.host, error, limit_s
            )
            gevent.spawn(self._probe, self._number, target, limit_s, error, tell)

    def end(self) -> None:
        """Let all go on: the server is back, or the test is stopping."""
        self._number += 1
        self._reachable.set()

    def _probe(self, number: int, target: Target, limit_s: float, error: str, tell: Told) -> None:
        begun_s = time.monotonic()
        while number == self._number:
            lasted_s = time.monotonic() - begun_s
            if lasted_s >= limit_s:
                tell(lasted_s, TOO_LONG, error)
                gevent.sleep(TELL_AGAIN_S)
                continue  # users stay where they are until the run ends
            found = why_unreachable(target)
            if number == self._number and found is None:
                tell(time.monotonic() - begun_s, BACK, error)
                self.end()
                return
            error = found or error
            if number == self._number:
                tell(time.monotonic() - begun_s, AWAY, error)
            gevent.sleep(min(PROBE_INTERVAL_S, limit_s))


def why_unreachable(target: Target) -> str | None:
    """None where a connection can be made, through the proxy and TLS if there are any."""
    connection = Connection(target, connect_timeout_s=PROBE_TIMEOUT_S)
    try:
        connection.ensure_open()
    except (OSError, httptools.HttpParserError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None
