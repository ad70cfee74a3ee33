"""Makes Ctrl-C and a closed terminal end a run in order.

Ctrl-C raises KeyboardInterrupt only where Locust waits for it.

Python raises it in whatever runs at that moment. In a greenlet of ours it would be kept as that greenlet's result, and raised once
more by whoever asks for the result while the run is being ended: the report and the exit code were lost with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import gevent
from locust.env import Environment

from locust_kvcache.contract.language import told
from locust_kvcache.loadgen.typed_locust import listen

INTERRUPTED = 128 + signal.SIGINT  # exit code, as a shell gives it


class _Heard:
    """Whether this process got SIGINT or SIGTERM, or SIGHUP."""

    interrupt = False
    hang_up = False


@cache
def _heard() -> _Heard:
    return _Heard()


def in_main() -> bool:
    """Whether Locust's main greenlet runs."""
    return gevent.getcurrent() is gevent.get_hub().parent


def was_interrupted() -> bool:
    """Ctrl-C, `timeout` and a container's end reach every process: workers that are then gone were not lost."""
    return _heard().interrupt


def was_hung_up() -> bool:
    """The terminal was closed; all processes of its group got SIGHUP."""
    return _heard().hang_up


@cache
def note_termination() -> None:
    """Beside Locust's own handler of SIGTERM, note that it came. Call it once that handler is there (from test_start on): before, SIGTERM
    is to end the process."""

    def hear() -> None:
        _heard().interrupt = True

    gevent.signal_handler(signal.SIGTERM, hear)


def end_when_hung_up() -> None:
    """A closed terminal ends a run as SIGTERM does: its records are kept, and its report is made."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup: stays as its owner asked
        return
    terminals = [number for number in (0, 1, 2) if os.isatty(number)]

    def hear() -> None:
        _heard().hang_up = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in terminals:  # to write there is an error now
            os.dup2(nowhere, number)
        os.kill(os.getpid(), signal.SIGTERM)

    gevent.signal_handler(signal.SIGHUP, hear)


@contextlib.contextmanager
def leaves_at_once(leave: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C once more, while a run ends: `leave` is all that is still done."""
    try:
        yield
    except KeyboardInterrupt:
        leave()
        sys.stderr.write(
            told("interrupted: what was measured is kept, and `locust-kvcache report FOLDER` makes its report") + "\n"
        )
        raise SystemExit(INTERRUPTED) from None


def interrupt_main_only(environment: Environment) -> None:
    """From here to Locust's last event SIGINT is raised in the main greenlet only; a second one ends a slow ending, as before."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job: stays as its owner asked
        return
    main: Any = gevent.get_hub().parent

    def hear() -> None:
        _heard().interrupt = True
        gevent.kill(main, KeyboardInterrupt)

    watcher = gevent.signal_handler(signal.SIGINT, hear)
    listen(environment.events.quit, lambda **_: watcher.cancel())
