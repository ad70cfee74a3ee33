"""Signals that end a run, to one process or to all of its group: what was measured is kept, and run.json says what came."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import LOCUST, ROOT, LocustProcesses, Stub, wait_for

LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "100", "--requests", "40", "--rounds", "2",
        "--prompt-tokens", "400", "--output-tokens", "6")  # fmt: skip


def under_way(locust: LocustProcesses) -> bool:
    return bool(locust.runs() and len(locust.runs()[0].records) >= 2)


@pytest.mark.analysed
@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGHUP, "the terminal was closed (SIGHUP); stopped in round 1 of cold_start"),
        (signal.SIGTERM, "stopped in round 1"),
    ],
)
def test_all_processes_of_a_group_are_signalled(
    locust: LocustProcesses, slow_stub: Stub, number: signal.Signals, said: str, processes: tuple[str, ...]
) -> None:
    process = locust.start(*LOAD, "--host", slow_stub.url, *processes)
    wait_for(lambda: under_way(locust), what="records")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    (run,) = locust.runs()
    assert said in run.facts["incomplete_reason"]
    assert "every worker was lost" not in run.facts["incomplete_reason"]
    assert {record["status"] for record in run.records} == {"ok", "stopped"}
    assert (run.folder / "stats.json").is_file()
    assert output.rstrip().endswith("stats.json"), output
    assert "Traceback" not in output


def test_a_second_interrupt_leaves_at_once_and_says_so(locust: LocustProcesses, slow_stub: Stub) -> None:
    process = locust.start(*LOAD, "--host", slow_stub.url, "-s", "600", "--output-tokens", "2000")
    wait_for(lambda: locust.runs() and locust.runs()[0].facts["rounds"] and len(slow_stub.bodies()) > 4, what="open streams")
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)  # two at once are one
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), output
    assert "interrupted: what was measured is kept" in output
    assert "Traceback" not in output
    assert "interrupted twice" in locust.runs()[0].facts["incomplete_reason"]


@pytest.mark.slow
def test_a_terminal_that_goes_away(tmp_path: Path, slow_stub: Stub) -> None:
    """To write to it is an error from then on: the run ends in order all the same."""
    ours, theirs = pty.openpty()
    command = [*LOCUST, *LOAD, "--host", slow_stub.url, "--warm-up", "off", "--no-report", "--output-dir", str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm"}, preexec_fn=lambda: _take_terminal(theirs),
    )  # fmt: skip
    os.close(theirs)
    wait_for(lambda: [path for path in tmp_path.glob("*/records.jsonl") if path.stat().st_size], what="records")
    os.close(ours)
    os.killpg(
        process.pid, signal.SIGHUP
    )  # the system sends one too, unless a process that was forked meanwhile holds the terminal
    assert process.wait(120) == 2
    (facts,) = tmp_path.glob("*/run.json")
    assert "the terminal was closed (SIGHUP)" in facts.read_text()
    assert (facts.parent / "stats.json").is_file()


def _take_terminal(number: int) -> None:
    """As a shell that is opened in it."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(number, termios.TIOCSCTTY, 0)
