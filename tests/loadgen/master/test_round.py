"""Every way a round can be held up, paused, changed or ended, as docs/distributed.md defines it."""

from __future__ import annotations

import collections
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import LocustProcesses, RunFiles, Stub, start_stub, wait_for
from tests.loadgen.master.test_coordinator import assert_barrier, assert_each_once_per_round, swarm
from tests.ports import free_port

FILE = "locustfiles/cold_start.py"
SHORT = ("--prompt-tokens", "400", "--output-tokens", "8")  # few chunks, far apart: as long as many, in less computing time


def base(stub: Stub, *more: str, requests_: int = 12) -> tuple[str, ...]:
    return ("-f", FILE, "-u", "4", "-r", "100", "--host", stub.url, "--requests", str(requests_), "--rounds", "2", *SHORT, *more)


def statuses(run: RunFiles) -> collections.Counter[str]:
    return collections.Counter(record["status"] for record in run.records)


def assert_one_record_per_sent_request(run: RunFiles, stub: Stub) -> None:
    assert len(run.records) == sum(stub.times_sent(run.facts["nonce"]).values())
    assert len({(r["round"], r["request_index"]) for r in run.records}) == len(run.records)


@pytest.fixture
def second_stub(tmp_path: Path) -> Iterator[Stub]:
    """About 1.4 s for a request."""
    server = start_stub(tmp_path, "0.2", "0.17")
    yield server
    server.process.kill()
    server.process.wait()


def test_a_straggler_is_named(locust: LocustProcesses, tmp_path: Path) -> None:
    server = start_stub(tmp_path, "5")
    try:
        code, output = locust.run(*base(server, "--headless", "--round-timeout", "2", "--processes", "2"))
    finally:
        server.process.kill()
    assert code == 7, output
    (run,) = locust.runs()
    assert run.facts["cause"] == "aborted by a limit"
    reason = run.facts["incomplete_reason"]
    assert "round 1 of cold_start was not done within --round-timeout 2 s" in reason
    assert "#0 still has 6 requests" in reason
    assert "#1 still has 6 requests" in reason
    assert statuses(run) == {"stopped": 4}  # what was open has its record


def test_a_pause_and_a_hook_between_rounds(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from locust import events\n"
        "from locustfiles.cold_start import ColdStart\n"
        "@events.init.add_listener\n"
        "def listen(environment, **_):\n"
        "    @environment.events.between_rounds.add_listener\n"
        "    def heard(scenario, next_round, **_):\n"
        f"        open({str(tmp_path / 'heard')!r}, 'a').write(f'{{scenario}} {{next_round}}\\n')\n"
    )
    code, output = locust.run(*base(stub, "--headless", "--round-pause", "2"), "-f", str(mine), "--rounds", "3")
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub, rounds=3)
    assert (tmp_path / "heard").read_text() == "cold_start 2\ncold_start 3\n"
    starts = [min(r["started_at_s"] for r in run.records if r["round"] == number) for number in (1, 2, 3)]
    assert starts[1] - starts[0] > 2
    assert starts[2] - starts[1] > 2


@pytest.mark.parametrize("stop", [("-t", "20"), ("-t", "20", "-s", "20")], ids=["-t", "-t and -s"])
def test_a_time_limit_shorter_than_the_work(locust: LocustProcesses, second_stub: Stub, stop: tuple[str, ...]) -> None:
    code, output = locust.run(*base(second_stub, "--headless", *stop, requests_=60))
    assert code == 2, output
    assert "stopped in the preflight" not in output, output
    (run,) = locust.runs()
    assert "stopped in round" in run.facts["incomplete_reason"]
    assert_one_record_per_sent_request(run, second_stub)
    assert statuses(run)["stopped"] == (0 if "-s" in stop else 4)  # -s: open streams get their time to end


def test_a_time_limit_within_the_preflight(locust: LocustProcesses, slow_stub: Stub) -> None:
    code, output = locust.run(*base(slow_stub, "--headless", "-t", "1", "-s", "10"))
    assert code == 2, output
    assert "stopped in the preflight: nothing was measured" in output
    assert not locust.runs()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_the_preflight(locust: LocustProcesses, slow_stub: Stub, signal_number: signal.Signals) -> None:
    process = locust.start(*base(slow_stub, "--headless"))
    wait_for(lambda: slow_stub.bodies(), what="the preflight's first request")
    os.killpg(process.pid, signal_number)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2, output
    assert "stopped in the preflight: nothing was measured" in output


def test_interrupted_twice_what_was_written_stays(locust: LocustProcesses, second_stub: Stub) -> None:
    process = locust.start(*base(second_stub, "--headless", "-s", "600"))
    wait_for(lambda: locust.runs() and len(locust.runs()[0].records) >= 4, what="each user's first record")
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=240)  # it does not wait for -s
    assert process.returncode != 0
    (run,) = locust.runs()
    assert not run.facts["complete"]
    assert statuses(run)["ok"] >= 4


def test_autostart_and_autoquit(locust: LocustProcesses, stub: Stub) -> None:
    web = ("--web-host", "127.0.0.1", "--web-port", str(free_port()))
    code, output = locust.run(*base(stub, "--autostart", "--autoquit", "0", *web))
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)


@pytest.mark.parametrize("users", [2, 7])
@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_users_edited_in_mid_round(locust: LocustProcesses, second_stub: Stub, users: int, processes: tuple[str, ...]) -> None:
    """A second spawning_complete starts nothing anew; users that Locust ends hand on what they had not begun; and the run says so."""
    port = str(free_port())
    process = locust.start(*base(second_stub, "--autostart", "--autoquit", "0", "--web-port", port, *processes))
    wait_for(lambda: locust.runs() and len(second_stub.times_sent(locust.runs()[0].facts["nonce"])) >= 4, what="open requests")
    assert swarm(port, user_count=users)["success"]
    output, _ = process.communicate(timeout=240)
    (run,) = locust.runs()
    assert run.facts["complete"] == (users > 4), "requests of users that were ended have failed"
    assert all(entry["complete"] for entry in run.facts["rounds"]), output
    assert_barrier_of_sent(run)
    assert len(run.records) == 24
    assert_one_record_per_sent_request(run, second_stub)
    assert statuses(run)["stopped"] == max(0, 4 - users)
    assert any(f"users were changed from 4 to {users} during a round" in text for text in run.facts["warnings"])


def assert_barrier_of_sent(run: RunFiles) -> None:
    first = [r for r in run.records if r["round"] == 1 and r["e2e_ms"] is not None]
    end = max(r["started_at_s"] + r["e2e_ms"] / 1000 for r in first)
    assert min(r["started_at_s"] for r in run.records if r["round"] == 2) >= end


def test_stop_in_the_web_ui_and_start_again(locust: LocustProcesses, second_stub: Stub) -> None:
    """With two workers; one process is in test_rounds.py."""
    port = str(free_port())
    locust.start(*base(second_stub, "--processes", "2", "--web-port", port))
    wait_for(
        lambda: requests.get(f"http://127.0.0.1:{port}/stats/requests", timeout=1).json()["worker_count"] == 2, what="workers"
    )
    assert swarm(port, host=second_stub.url)["success"]
    wait_for(lambda: locust.runs() and locust.runs()[0].records, what="records of the first run")
    requests.post(f"http://127.0.0.1:{port}/stop", timeout=60)
    first = wait_for(lambda: locust.runs()[0].facts["ended_at"] and locust.runs()[0], what="the end of the first run")
    assert_one_record_per_sent_request(first, second_stub)
    wait_for(
        lambda: all(
            w["state"] == "ready" for w in requests.get(f"http://127.0.0.1:{port}/stats/requests", timeout=1).json()["workers"]
        ),
        what="workers to be ready again",
    )
    assert swarm(port, host=second_stub.url, requests="4")["success"]
    second = wait_for(lambda: len(locust.runs()) == 2 and locust.runs()[1], what="the second run")
    wait_for(lambda: second.facts["ended_at"], what="the end of the second run")
    assert_each_once_per_round(second, second_stub)
    assert_barrier(second)
