"""A server that is gone in mid-round: the round waits, then goes on, or the run ends and can be resumed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, LocustProcesses, Stub, start_stub, wait_for

LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "100", "--requests", "20", "--rounds", "2",
        "--prompt-tokens", "400", "--output-tokens", "6")  # fmt: skip


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Stub]:
    """Takes half a second for a request."""
    server = start_stub(tmp_path, "0.1", "0.08")
    yield server
    server.process.kill()
    server.process.wait()


def gone(server: Stub) -> None:
    server.process.kill()
    server.process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def back(server: Stub) -> None:
    command = [sys.executable, str(ROOT / "tests" / "stub_server.py"), str(server.port), str(server.log), "0.02", "0.002"]
    server.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: listens(server.port), what="the server")


def records_of_round(locust: LocustProcesses, number: int) -> int:
    runs = locust.runs()
    return sum(record["round"] == number for record in runs[0].records) if runs else 0


def noticed(locust: LocustProcesses) -> bool:
    """A user could not send: refused, or reset while the port was being closed."""
    return any(record["status"] in ("refused", "connect") for record in locust.runs()[0].records)


@pytest.mark.analysed
def test_the_round_waits_and_goes_on(locust: LocustProcesses, mortal: Stub) -> None:
    process = locust.start(*LOAD, "--host", mortal.url, "--max-failures", "8")
    wait_for(lambda: records_of_round(locust, 1) >= 4, what="records")
    gone(mortal)
    wait_for(lambda: noticed(locust), what="a request that could not be sent")
    time.sleep(1)
    back(mortal)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    (run,) = locust.runs()
    statuses = Counter(record["status"] for record in run.records)
    assert statuses["ok"] >= 32
    assert statuses.total() == 40
    assert 1 <= statuses["refused"] + statuses["connect"] <= 4  # each user notices once; all of the rest waited
    (text,) = (text for text in run.facts["warnings"] if "could not be reached" in text)
    assert "in round 1 of cold_start, the round paused: Connection" in text


def test_the_progress_line_says_that_the_server_is_away(locust: LocustProcesses, mortal: Stub) -> None:
    process = locust.start(*LOAD, "--host", mortal.url, "--outage-limit", "13")
    wait_for(lambda: records_of_round(locust, 1) >= 4, what="records")
    gone(mortal)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 7, output
    assert re.search(r"failed, server away for \d+\.\d s, no estimate\n", output), output


def test_a_server_that_stays_away_ends_the_run_which_can_be_resumed(locust: LocustProcesses, mortal: Stub) -> None:
    process = locust.start(*LOAD, "--host", mortal.url, "--outage-limit", "1")
    wait_for(lambda: records_of_round(locust, 2) >= 2, what="records of round 2")
    gone(mortal)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 7, output
    (run,) = locust.runs()
    assert not run.facts["complete"]
    assert "s in round 2 of cold_start (--outage-limit): ConnectionRefusedError" in run.facts["incomplete_reason"]
    assert records_of_round(locust, 2) < 20
    back(mortal)
    code, output = locust.run(*LOAD, "--host", mortal.url, "--resume", str(run.folder))
    assert code == 0, output
    assert run.facts["complete"]
    assert records_of_round(locust, 1) == records_of_round(locust, 2) == 20


def test_a_server_that_goes_with_the_last_requests_of_a_round_ends_the_run_in_the_next(
    locust: LocustProcesses, mortal: Stub
) -> None:
    """Two of five requests are answered, two break, and the fifth is refused: the round is over, and the outage is not."""
    load = (*LOAD[: LOAD.index("--requests")], "--requests", "5", *LOAD[LOAD.index("--rounds") :])
    process = locust.start(*load, "--host", mortal.url, "--outage-limit", "1")
    wait_for(lambda: records_of_round(locust, 1) >= 2, what="records")
    gone(mortal)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 7, output
    assert "s in round 2 of cold_start (--outage-limit): ConnectionRefusedError" in locust.runs()[0].facts["incomplete_reason"]


def test_ctrl_c_ends_a_run_that_waits(locust: LocustProcesses, mortal: Stub) -> None:
    process = locust.start(*LOAD, "--host", mortal.url)
    wait_for(lambda: records_of_round(locust, 1) >= 2, what="records")
    gone(mortal)
    wait_for(lambda: noticed(locust), what="a request that could not be sent")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "stopped in round 1" in locust.runs()[0].facts["incomplete_reason"]
