"""Asks again after a failure that may pass by itself: a rate limit, a restart, a connection that broke.

For the few requests before a run. The load never repeats a request: there a failure is a result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from locust_kvcache.loadgen.client.stream import StreamOutcome

log = logging.getLogger("kvcache")
TRIES = 3
BUSY_TRIES = 6
BUSY = (429, 503, 529)  # the server says that it is too much, and mostly for how long
REFUSED_FROM, REFUSED_TO = 400, 500
LONGEST_WAIT_S = 30.0


def wait_s(retry_after: str | None, tries: int) -> float | None:
    """Seconds to wait after a 429, 503 or 529; None for a wait that nobody has time for. A date, or nothing, is waited for ever longer."""
    try:
        told = float(retry_after or "")
    except ValueError:
        return min(0.5 * 2.0**tries, LONGEST_WAIT_S)
    return max(0.1, told) if 0 <= told <= LONGEST_WAIT_S else None


def patiently(ask: Callable[[], StreamOutcome], sleep: Callable[[float], object] = gevent.sleep) -> StreamOutcome:
    """The first outcome that is a result, or the last of several tries."""
    for tries in range(1, BUSY_TRIES + 1):
        outcome = ask()
        status = outcome.response.http_status or 0
        if outcome.status in ("ok", "timeout", "no_output"):
            break
        if status in BUSY:
            pause_s = wait_s(outcome.response.headers.get("retry-after"), tries)
            if pause_s is None or tries == BUSY_TRIES:
                break
            log.info("the server is busy (HTTP %d): asked again in %g s", status, pause_s)
            sleep(pause_s)
        elif REFUSED_FROM <= status < REFUSED_TO or outcome.too_long or tries >= TRIES:
            break
    return outcome
