"""Makes Ctrl-C end a run in order, by raising KeyboardInterrupt only where Locust waits for it.

Python raises it in whatever runs at that moment. In a greenlet of ours it would be kept as that greenlet's result, and raised once
more by whoever asks for the result while the run is being ended: the report and the exit code were lost with it.
"""

from __future__ import annotations

import signal
from functools import cache
from typing import Any

import gevent
from locust.env import Environment

from locust_kvcache.loadgen.typed_locust import listen


class _Heard:
    """Whether this process got SIGINT."""

    interrupt = False


@cache
def _heard() -> _Heard:
    return _Heard()


def was_interrupted() -> bool:
    """Ctrl-C and `timeout -s INT` reach every process of the group: workers that are then gone were not lost."""
    return _heard().interrupt


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
