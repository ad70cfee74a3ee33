"""Starts the warm interpreters of a test session: one for the workers of pytest-xdist themselves, and, when the first of them wants one,
those of the processes under test, once for all workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import pytest

from locust_kvcache.contract.analysis_job import END_OF_PART, MODULE, READY
from tests.warm.jobs import WarmProcess

ROOT = Path(__file__).resolve().parent.parent.parent
LOCUST = (
    "tests.warm.heat,locust,locust.main,requests,yaml,orjson,httptools,prometheus_client,geventhttpclient,flask_login,"
    "locust_kvcache.loadgen.master.coordinator,locust_kvcache.loadgen.worker.agent"  # not the plugin: only a locustfile registers it
)
ANALYSIS = (
    "pandas,pyarrow.json,pyarrow.parquet,scipy.stats,scipy.optimize,jinja2,yaml,orjson,matplotlib.figure,"
    "locust_kvcache.analysis.commands.one_run,locust_kvcache.analysis.report.files"
)
SESSION_FOLDER = "KV_TEST_SESSION_FOLDER"  # in the environment of all workers of pytest-xdist of one session


def open_server(folder: Path, name: str, *args: str) -> tuple[str, IO[str]]:
    """The FIFO of the server of that name, started with these arguments unless it runs; it stays as long as this is open."""
    fifo, log = folder / f"{name}.fifo", folder / f"{name}.log"
    server: subprocess.Popen[bytes] | None = None
    if not fifo.exists():
        os.mkfifo(fifo)
        command = [sys.executable, str(Path(__file__).with_name("server.py")), str(fifo), *args]
        with open(log, "w") as output:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    deadline_s = time.monotonic() + 300
    while time.monotonic() < deadline_s and (server is None or server.poll() is None):
        with contextlib.suppress(OSError):  # ENXIO until the server has imported all and reads
            jobs = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(jobs, True)
            return str(fifo), open(jobs, "w")
        time.sleep(0.02)
    raise RuntimeError(f"the warm interpreter {name} does not start: {log.read_text()[-2000:]}")


def fork_workers(config: pytest.Config, specs: list[Any]) -> None:
    """The workers of pytest-xdist are forks of one interpreter that has collected the tests."""
    folder = tempfile.TemporaryDirectory(prefix="workers-")
    config.add_cleanup(folder.cleanup)
    os.environ[SESSION_FOLDER] = folder.name
    fifo, jobs = open_server(Path(folder.name), "tests", "tests.warm.threads", *map(str, config.args))
    config.add_cleanup(jobs.close)
    for spec in specs:
        words = (sys.executable, "-IS", str(Path(__file__).with_name("forward_worker.py")), fifo, folder.name, spec.id)
        spec.python = shlex.join(words)


class Warm:
    """Two interpreters: one that has Locust, patched for gevent, and one for the analyses that Locust's processes start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs = 0
        folder.mkdir(exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._locust, self._locust_jobs = open_server(folder, "locust", LOCUST)
            self._analysis, self._analysis_jobs = open_server(folder, "analysis", ANALYSIS)
            self.python = folder / "python"
            if not self.python.exists():
                self.python.write_text(
                    f"#!{sys.executable} -IS\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.warm.jobs import forward\n"
                    f"sys.exit(forward({self._locust!r}, {self._analysis!r}, {str(folder)!r}, {sys.executable!r}, "
                    f"{(MODULE, READY, END_OF_PART)!r}))\n"
                )
                self.python.chmod(0o755)

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
