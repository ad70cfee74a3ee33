"""Plays the events of a deployment file while rounds are under way, and writes into run.json when each began and how it ended.

Commands run in greenlets of the master, as processes of their own: the load does not wait for them. One that fails is a warning.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gevent
import requests

from locust_kvcache.contract.fault_events import FaultEvent

READY_EVERY_S = 0.2
READY_TIMEOUT_S = 2.0
LOG = "events.log"  # in the run's folder: what the commands printed


class FaultPlayer:
    def __init__(
        self,
        events: Sequence[FaultEvent],
        folder: Path,
        note: Callable[[list[dict[str, Any]]], None],
        warn: Callable[[str], None],
    ) -> None:
        """`note` writes the entries into run.json."""
        self._events = events
        self._folder = folder
        self._note = note
        self._warn = warn
        self._entries = {event.name: _entry(event) for event in events}
        self._playing: dict[str, gevent.Greenlet[..., None]] = {}

    def round_begun(self, number: int) -> None:
        """Of the first scenario that gets so far."""
        for event in self._events:
            if event.after_round == number - 1 and event.name not in self._playing:
                self._playing[event.name] = gevent.spawn(self._play, event)

    def close(self) -> None:
        """The load has ended: what was not begun is said, what was not undone is undone now."""
        gevent.killall(list(self._playing.values()))
        for event in self._events:
            entry = self._entries[event.name]
            if entry["began_at_s"] is None:
                self._warn(f"event {event.name} did not begin: the run ended before")
            elif event.undo is not None and entry["undo_began_at_s"] is None:
                self._warn(f"event {event.name} is undone at the end of the run, before its undo_after_s")
                self._run(event, event.undo, "undo_")
        if self._events:
            self._note(list(self._entries.values()))

    def _play(self, event: FaultEvent) -> None:
        gevent.sleep(event.at_s)
        begun_s = time.monotonic()
        self._run(event, event.run, "")
        if event.undo is not None and event.undo_after_s is not None:
            gevent.sleep(max(0.0, event.undo_after_s - (time.monotonic() - begun_s)))
            self._run(event, event.undo, "undo_")
        if event.ready is not None:
            self._wait_until_ready(event, event.ready)

    def _run(self, event: FaultEvent, command: str, prefix: str) -> None:
        """The shell's exit code; what it leaves in the background goes on."""
        entry, what = self._entries[event.name], f"event {event.name}: {prefix.rstrip('_') or 'run'} {command!r}"
        entry[f"{prefix}began_at_s"] = time.time()
        self._note(list(self._entries.values()))
        try:
            with (self._folder / LOG).open("ab") as log:
                process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                           start_new_session=True)  # fmt: skip
            entry[f"{prefix}exit_code"] = process.wait(event.timeout_s)
            if entry[f"{prefix}exit_code"]:
                self._warn(f"{what} ended with exit code {entry[f'{prefix}exit_code']}; its output is in {LOG}")
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            self._warn(f"{what} was killed after {event.timeout_s:g} s (timeout_s)")
        except OSError as error:
            self._warn(f"{what} cannot be run: {error}")
        entry[f"{prefix}ended_at_s"] = time.time()
        self._note(list(self._entries.values()))

    def _wait_until_ready(self, event: FaultEvent, url: str) -> None:
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(url, timeout=READY_TIMEOUT_S).status_code == 200:
                    break
            gevent.sleep(READY_EVERY_S)
        self._entries[event.name]["ready_at_s"] = time.time()
        self._note(list(self._entries.values()))


def _entry(event: FaultEvent) -> dict[str, Any]:
    """Times are epoch seconds of the master's clock, which records are corrected to; None: not yet, or never."""
    times = ("began_at_s", "ended_at_s", "exit_code", "undo_began_at_s", "undo_ended_at_s", "undo_exit_code", "ready_at_s")
    return {
        "name": event.name, "after_round": event.after_round, "at_s": event.at_s, "run": event.run, "undo": event.undo,
        "undo_after_s": event.undo_after_s, "ready": event.ready, **dict.fromkeys(times),
    }  # fmt: skip
