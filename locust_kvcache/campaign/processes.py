"""Starts and stops the deployments and runs of a campaign as child processes.

Ctrl-C (and SIGTERM) reach the child that is under way: a run ends with its records and report, then the campaign ends too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

POLL_S = 0.5
ANSWER_TIMEOUT_S = 5.0


class StepFailed(Exception):
    """A deployment did not come up; the message says which step, and where its output is."""


class Processes:
    """One child at a time. `stopped`: somebody asked for the end."""

    def __init__(self) -> None:
        self.stopped = False
        self._child: subprocess.Popen[bytes] | None = None
        self._spared = False

    def hear_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.stopped = self.stopped, True
        child = self._child
        if child is not None and child.poll() is None and (again or not self._spared):
            os.killpg(child.pid, signal.SIGINT)  # its whole group, as a terminal's Ctrl-C

    def run(self, command: Sequence[str], output: Path, spared: bool = False) -> int:
        """Its exit code; all that it says goes to a file. `spared`: the first Ctrl-C lets it end by itself."""
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            self._spared = spared
            self._child = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                return self._child.wait()
            finally:
                self._child = None

    def shell(self, command: str, output: Path, spared: bool = False) -> int:
        return self.run(["/bin/sh", "-c", command], output, spared)

    def take_down(self, command: str, output: Path) -> int:
        return self.shell(command, output, spared=True)

    def bring_up(self, command: str, urls: Sequence[str], timeout_s: float, output: Path) -> None:
        """StepFailed where the command fails, or a URL has no answer in time."""
        code = self.shell(command, output)
        if code and not self.stopped:
            raise StepFailed(f"`up` ended with exit code {code}: see {output}")
        deadline_s = time.monotonic() + timeout_s
        for url in urls:
            while not self.stopped and not answers(url):
                if time.monotonic() > deadline_s:
                    raise StepFailed(f"{url} had no answer within {timeout_s:g} s after `up`: see {output}")
                time.sleep(POLL_S)


def answers(url: str) -> bool:
    """Whether a server says anything there but that it is not ready; a PD proxy may have no /v1/models."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False
