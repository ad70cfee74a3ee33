"""Analyses runs in a process of their own: the load generator never imports pandas.

The process is started before the first round, while no stream is open, imports what it needs and waits. At the run's end it gives the
answer first and writes the report after it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from locust_kvcache.contract.analysis_job import DRAWS, END_OF_PART, MODULE, READY, AnalysisJob

CRASHED = 1  # Python's own exit code after a traceback


class AnalysisProcess:
    """Analyses one run. `draws`: what a report needs is imported early too."""

    def __init__(self, draws: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *([DRAWS] if draws else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._ready: bool | None = None  # not known yet
        self._ended = False

    def wait_until_ready(self) -> bool:
        """Until it waits for its job and takes no more of the machine's time; False if it has ended instead."""
        if self._ready is None:
            self._ready = self._line() == READY
        return self._ready

    def ask(self, job: AnalysisJob) -> None:
        self.wait_until_ready()
        with contextlib.suppress(OSError):  # it has ended, and `answer` says so
            assert self._process.stdin is not None
            self._process.stdin.write(job.to_line())
            self._process.stdin.flush()

    def answer(self) -> tuple[int, str]:
        """The exit code of the analysis, and what the console shows."""
        return self._part()

    def files(self) -> tuple[int, str]:
        """The same of the report, when it is written; nothing where there was no answer."""
        if self._ended:
            return 0, ""
        found = self._part()
        self.close()
        return found

    def close(self) -> None:
        """Without a job it ends now."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._ended = True

    def _part(self) -> tuple[int, str]:
        lines: list[str] = []
        while line := self._line():
            if line.startswith(END_OF_PART):
                return int(line.removeprefix(END_OF_PART)), "".join(lines).rstrip("\n")
            lines.append(line)
        self._ended = True
        return self._process.wait() or CRASHED, "".join(lines)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Analyses:
    """The analyses of one test: the first run's process is started early, those of later runs when they are needed."""

    def __init__(self) -> None:
        self._waiting: AnalysisProcess | None = None
        self._asked: AnalysisProcess | None = None

    def prepare(self, draws: bool) -> None:
        """Start a process now, for the run that comes."""
        if self._waiting is None:
            self._waiting = AnalysisProcess(draws)

    def wait_until_ready(self) -> None:
        if self._waiting is not None:
            self._waiting.wait_until_ready()

    def ask(self, job: AnalysisJob) -> None:
        """Begin the analysis of a run whose files are closed."""
        process, self._waiting = self._waiting, None
        if process is None or not process.wait_until_ready():
            process = AnalysisProcess()
        process.ask(job)
        self._asked = process

    def answer(self) -> tuple[int, str]:
        """What the analysis found, as soon as it is found."""
        return self._asked.answer() if self._asked is not None else (0, "")

    @property
    def is_drawing(self) -> bool:
        """A run was analysed, and its report is being written."""
        return self._asked is not None

    def files(self) -> tuple[int, str]:
        """What the report of the last run has to say, when it is written."""
        process, self._asked = self._asked, None
        return process.files() if process is not None else (0, "")

    def close(self) -> None:
        """No run comes any more."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None


def summarise(module: str, folders: list[Path], png: bool, language: str) -> str:
    """What an analysis of several runs together printed."""
    command = [
        sys.executable,
        "-m",
        module,
        *(str(folder.resolve()) for folder in folders),
        *(["--png"] if png else []),
        "--lang",
        language,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
