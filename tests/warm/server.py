"""An interpreter that has imported what takes seconds, and forks a process for each job that a test hands it.

    python tests/warm/server.py FIFO MODULE[,MODULE ...] [TESTS ...]

TESTS are collected once, for workers of pytest-xdist that would each take ten seconds to import them.
A job is a folder, its path a line in the FIFO. Its job.json says what `python -m` would run, where and with which environment. The new
process appends to the files named there; its `pid` appears in the folder, and at its end its `exit` code. The server ends when nobody
holds the FIFO open for writing.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def put(path: Path, value: int) -> None:
    """Whole or not at all: the test waits for this file."""
    partial = path.with_suffix(".partial")
    partial.write_text(str(value))
    partial.replace(path)


def serve(fifo: str) -> Path | None:
    """The folder of the job, in the process that is to do it; None in the server, when all is done."""
    from gevent import monkey  # its own fork would make an event loop in the server

    fork = monkey.get_original("os", "fork")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with open(fifo, "rb", buffering=0) as jobs:
        for line in jobs:
            folder = Path(line.decode().rstrip("\n"))
            if fork():
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            jobs.close()
            if not (pid := fork()):
                return folder
            put(folder / "pid", pid)
            _, status = monkey.get_original("os", "waitpid")(pid, 0)
            put(folder / "exit", os.waitstatus_to_exitcode(status))
            os._exit(0)
    return None


def become(job: dict[str, Any]) -> None:
    """What a process started with these arguments, there, in that environment, would find."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for number, name in enumerate(job["streams"]):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY, 0o644), number)
    # made anew, as those of the server know whether its own log can be sought in
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.path[0:1] = [job["cwd"], *filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.executable = job["python"]
    sys.argv = ["-m", *job["args"]]
    if "gevent" in sys.modules:  # a loop made before the fork has the server's time: a timer of 20 s would be over at once
        sys.modules["gevent"].get_hub().loop.update_now()


def end(code: int) -> None:
    """As the interpreter ends, but for taking down its modules and objects, which takes a tenth of a second."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; only the interpreter calls it otherwise
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    parent = os.getppid()
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)
    for module in sys.argv[2].split(","):
        importlib.import_module(module)
    inspect.stack()  # Locust's stop() asks for it: the first time, the files of all modules are looked up
    if sys.argv[3:]:
        os.environ["PYTEST_XDIST_WORKER"] = "collecting"  # tests ask at their import whether they are spread over workers
        collect = ["--collect-only", "-qq", "-p", "no:cacheprovider", "-p", "no:rerunfailures"]
        importlib.import_module("pytest").main([*collect, *sys.argv[3:]])
    gc.freeze()
    if os.getppid() == parent and (found := serve(sys.argv[1])):  # who would open the FIFO may have been killed meanwhile
        task = json.loads((found / "job.json").read_text())
        become(task)
        try:
            runpy.run_module(task["module"], run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            if not isinstance(ended.code, int | None):
                raise  # a text, which the interpreter prints
            end((ended.code or 0) & 0xFF)
        end(0)
