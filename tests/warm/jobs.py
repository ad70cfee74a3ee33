"""A job for a warm interpreter (server.py), and the process that does it. forward() is a program of its own and must start fast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL_S = 0.02
UNANALYSED = "KV_TEST_UNANALYSED"  # in a process's environment: the runs of its load are not analysed
UNSTUDIED = "KV_TEST_UNSTUDIED"  # nor is what a study has found


class WarmProcess:
    """What the tests use of subprocess.Popen; standard error is in the output too, unless it has a file of its own. `streams_of`: the
    process whose standard streams are used instead of files."""

    def __init__(
        self,
        fifo: str,
        folder: Path,
        module: str,
        args: list[str],
        cwd: str,
        env: dict[str, str],
        python: str,
        apart: bool = False,
        streams_of: int | None = None,
    ) -> None:
        self.folder = folder
        self.returncode: int | None = None
        self.args = ["python", "-m", module, *args]
        self.output, self.errors = folder / "output", folder / ("errors" if apart else "output")
        folder.mkdir(parents=True)
        streams = ["/dev/null", str(self.output), str(self.errors)]
        if streams_of is not None:
            streams = [f"/proc/{streams_of}/fd/{number}" for number in range(3)]
        job = {"module": module, "args": args, "cwd": cwd, "env": env, "python": python, "streams": streams}
        (folder / "job.json").write_text(json.dumps(job))
        with open(fifo, "w") as jobs:
            jobs.write(f"{folder}\n")
        deadline_s = time.monotonic() + 60
        while not (folder / "pid").exists():
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"the warm interpreter at {fifo} forks nothing")
            time.sleep(POLL_S)
        self.pid = int((folder / "pid").read_text())

    def poll(self) -> int | None:
        if self.returncode is None and (ended := self.folder / "exit").exists():
            self.returncode = int(ended.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None, poll_s: float = POLL_S) -> int:
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0, self.output.read_bytes())
            time.sleep(poll_s)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.output.read_text(), None

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def signal_group(self, number: int) -> None:
        """As a terminal or `kill` does, whose signals the process that forwards gets in its place."""
        if self.poll() is None:
            os.killpg(self.pid, number)


def starts_locust(module: str, args: list[str]) -> bool:
    """Whether `python -m MODULE ARGS` becomes a Locust process."""
    return module == "locust" or (module == "locust_kvcache" and args[:1] in (["run"], ["preflight"], ["dry-run"]))


def without_analysis(ready: str, end_of_part: str) -> int:
    """In place of the process that analyses a load's run, for tests that do not look at its figures: two parts with nothing to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(ready, end="", flush=True)
    if sys.stdin.readline():
        print(f"{end_of_part}0\n{end_of_part}0", flush=True)
    return 0


def forward(locust: str, analysis: str, folder: str, fresh: str, after_run: tuple[str, str, str]) -> int:
    """`python -m MODULE ARGS` by a warm interpreter: what stands in the place of sys.executable in the processes under test.
    `after_run`: the module that analyses a load's run, and what it prints (contract/analysis_job.py)."""
    if sys.argv[1:2] != ["-m"]:
        os.execv(fresh, [fresh, *sys.argv[1:]])
    module, args = sys.argv[2], sys.argv[3:]
    if module == after_run[0] and UNANALYSED in os.environ:
        return without_analysis(*after_run[1:])
    if module.startswith("locust_kvcache.analysis.commands.") and UNSTUDIED in os.environ:
        return 0
    mine = Path(folder) / f"forwarded-{os.getpid()}-{time.monotonic_ns()}"
    fifo = locust if starts_locust(module, args) else analysis
    process = WarmProcess(fifo, mine, module, args, os.getcwd(), dict(os.environ), sys.argv[0], streams_of=os.getpid())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.signal_group(number))
    code = process.wait()
    return code if code >= 0 else 128 - code
