"""Starts the warm interpreters of a test session, once for all workers of pytest-xdist, when the first of them wants one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from locust_kvcache.contract.analysis_job import END_OF_PART, MODULE, READY
from tests.warm.jobs import WarmProcess

ROOT = Path(__file__).resolve().parent.parent.parent
LOCUST = (
    "locust,locust.main,requests,yaml,orjson,httptools,prometheus_client,geventhttpclient,flask_login,"
    "locust_kvcache.loadgen.master.coordinator,locust_kvcache.loadgen.worker.agent"  # not the plugin: only a locustfile registers it
)
ANALYSIS = (
    "pandas,pyarrow.json,pyarrow.parquet,scipy.stats,scipy.optimize,jinja2,yaml,orjson,matplotlib.figure,"
    "locust_kvcache.analysis.commands.one_run,locust_kvcache.analysis.report.files"
)


class Warm:
    """Two interpreters: one that has Locust, patched for gevent, and one for the analyses that Locust's processes start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs = 0
        self._held: list[IO[str]] = []  # the servers stay as long as these are open
        folder.mkdir(exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._locust, self._analysis = self._server("locust", LOCUST), self._server("analysis", ANALYSIS)
            self.python = folder / "python"
            if not self.python.exists():
                self.python.write_text(
                    f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.warm.jobs import forward\n"
                    f"sys.exit(forward({self._locust!r}, {self._analysis!r}, {str(folder)!r}, {sys.executable!r}, "
                    f"{(MODULE, READY, END_OF_PART)!r}))\n"
                )
                self.python.chmod(0o755)

    def _server(self, name: str, modules: str) -> str:
        fifo = self._folder / f"{name}.fifo"
        if not fifo.exists():
            os.mkfifo(fifo)
            command = [sys.executable, str(Path(__file__).with_name("server.py")), str(fifo), modules]
            with open(self._folder / f"{name}.log", "w") as log:
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._held.append(open(fifo, "w"))  # noqa: SIM115  (waits until the server has it open too)
        return str(fifo)

    def module(self, name: str, *args: object) -> subprocess.CompletedProcess[str]:
        """`python -m NAME ARGS` of an analysis, from the project's root."""
        self._jobs += 1
        folder = self._folder / f"{os.getpid()}-{self._jobs}"
        words = [str(arg) for arg in args]
        process = WarmProcess(self._analysis, folder, name, words, str(ROOT), dict(os.environ), str(self.python), apart=True)
        code = process.wait()
        output, errors = (file.read_text() if file.exists() else "" for file in (process.output, process.errors))
        return subprocess.CompletedProcess(process.args, code, output, errors)

    def locust(self, args: list[str], env: dict[str, str]) -> WarmProcess:
        """`python -m locust ARGS` from the project's root."""
        self._jobs += 1
        folder = self._folder / f"{os.getpid()}-{self._jobs}"
        return WarmProcess(self._locust, folder, "locust", args, str(ROOT), env, str(self.python))
