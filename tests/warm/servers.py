"""Servers that tests start as processes: forks of an interpreter that has imported the emulator."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.warm.jobs import WarmProcess
from tests.warm.start import ROOT, SESSION_FOLDER, open_server

MODULES = (
    "http.server,locust_kvcache.emulator.api,locust_kvcache.emulator.fleet,locust_kvcache.emulator.mooncake,"
    "locust_kvcache.emulator.options,locust_kvcache.emulator.proxy,locust_kvcache.emulator.remote"
)


def _own_folder() -> str:
    folder = tempfile.mkdtemp(prefix="servers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _interpreter() -> tuple[Path, str, IO[str]]:
    """(folder of its jobs, FIFO, what keeps it alive), one for all workers of pytest-xdist."""
    folder = Path(os.environ.get(SESSION_FOLDER) or _own_folder())
    with open(folder / "servers.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, *open_server(folder, "servers", MODULES)


def start_server(module: str, *args: str, **env: str) -> subprocess.Popen[bytes] | WarmProcess:
    """`python -m MODULE ARGS` from the project's root; nobody reads what it prints."""
    environment = {**os.environ, **env}
    if os.environ.get("KV_FRESH_PROCESSES"):
        command = [sys.executable, "-m", module, *args]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, fifo, _ = _interpreter()
    job = folder / f"server-{os.getpid()}-{time.monotonic_ns()}"
    return WarmProcess(fifo, job, module, list(args), str(ROOT), environment, sys.executable)
