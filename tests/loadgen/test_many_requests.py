"""A plan of many requests starts, in little memory: it once took a worker's heartbeats, and the run with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import LocustProcesses, Stub, wait_for
from tests.ports import free_port

FILE = "locustfiles/batch_processing.py"


@pytest.mark.parametrize("requests", [20_000, 150_000])
def test_a_large_plan_starts_on_a_master_and_two_workers(locust: LocustProcesses, stub: Stub, requests: int) -> None:
    port = str(free_port())
    load = ("--headless", "-u", "4", "-r", "100", "--host", stub.url, "--requests", str(requests), "--prompt-tokens", "60")
    master = locust.start(
        "-f", FILE, *load, "--master", "--master-bind-port", port, "--expect-workers", "2", "--expect-workers-max-wait", "120"
    )
    workers = [locust.start("-f", FILE, "--worker", "--master-port", port) for _ in range(2)]
    wait_for(lambda: locust.runs() and len(locust.runs()[0].records) >= 4, 180, "records")
    peaks = [peak_mb(process.pid) for process in (master, *workers)]
    os.kill(master.pid, signal.SIGINT)
    output, _ = master.communicate(timeout=120)
    assert master.returncode == 2, output
    assert "failed to send heartbeat" not in output
    assert f"round 1 starts, {requests} requests in {requests} sessions, {60 * requests:,} prompt tokens" in output
    assert max(peaks) < 200, "MB"
    (run,) = locust.runs()
    assert len({record["worker"] for record in run.records}) == 2


def peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
