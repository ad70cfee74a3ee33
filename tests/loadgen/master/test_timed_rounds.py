"""Rounds that end by the clock: what was begun has exactly one record, and the next round repeats what the first one sent."""

from __future__ import annotations

import collections
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from tests.conftest import LocustProcesses, RunFiles, Stub, start_stub, wait_for
from tests.loadgen.test_loss import Cluster, cluster  # noqa: F401  a fixture

FILE = "locustfiles/cold_start.py"
LOAD = ("-f", FILE, "--headless", "-u", "4", "-r", "100", "--warm-up", "off", "--prompt-tokens", "200", "--output-tokens", "4")


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """Takes a sixth of a second for a cold request: some twenty a second by four users."""
    server = start_stub(tmp_path, "0.07", "0.03")
    yield server
    server.process.kill()
    server.process.wait()


def assert_each_begun_request_once(run: RunFiles, stub: Stub) -> None:
    """By the records, by run.json, and by the server's own log."""
    keys = collections.Counter((r["round"], r["request_index"]) for r in run.records)
    assert set(keys.values()) == {1}
    by_round = collections.Counter(r["round"] for r in run.records)
    assert {entry["round"]: entry["planned_requests"] for entry in run.facts["rounds"]} == dict(by_round)
    sent = [body for body in stub.bodies() if run.facts["nonce"] in str(body["messages"])]
    assert len(sent) == len([r for r in run.records if r["started_at_s"]])


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_users_for_a_time(locust: LocustProcesses, stub: Stub, processes: tuple[str, ...]) -> None:
    """--requests is one pass of the plan: far more are sent, each with texts of its own; the hit round repeats the last whole pass."""
    code, output = locust.run(
        *LOAD, "--host", stub.url, "--requests", "6", "--round-time", "3s", "--round-warm-up", "0.2", *processes
    )
    assert code == 0, output
    (run,) = locust.runs()
    assert run.facts["complete"], run.facts["incomplete_reason"]
    assert_each_begun_request_once(run, stub)
    first, second = run.facts["rounds"]
    assert first["records"] > 6
    assert (first["timed"]["fresh"], second["timed"]["fresh"]) == (True, False)
    assert second["timed"]["first_pass"] == first["timed"]["next_session"] // 6 - 1
    mine = [r for r in run.records if r["round"] == 1]
    begin = min(r["started_at_s"] for r in mine)
    assert max(r["started_at_s"] for r in mine) < begin + 3.2  # nothing begins when the time is up; clocks of two workers
    labels = {
        r["phase"]: r["started_at_s"] - begin for r in sorted(mine, key=lambda r: r["started_at_s"]) if r["phase"] == "warm_up"
    }
    assert labels["warm_up"] < 0.8
    assert "3.0 s round" in output
    _, hits = (collections.Counter(bool(r["reported_cached_tokens"]) for r in run.records if r["round"] == n) for n in (1, 2))
    assert hits[True] > hits[False]
    stats = analyse_folder(run.folder).stats
    (row, _) = stats["rounds"]
    assert row["requests"] == row["planned_requests"] == len([r for r in mine if r["phase"] != "warm_up"])
    assert row["wall_s"] == pytest.approx(2.4)
    assert row["requests_per_s"] == pytest.approx(row["succeeded"] / 2.4)
    assert any(effect["metric"] == "ttft_ms" and effect["split"] == "round" for effect in stats["effects"])


def test_a_rate_and_sessions_of_several_turns(locust: LocustProcesses, stub: Stub) -> None:
    """Sessions that are due within the time are begun; turns that come after it are not sent, and have no record."""
    load = (
        "-f",
        "locustfiles/multi_turn_conversation.py",
        "--headless",
        "-u",
        "20",
        "-r",
        "100",
        "--warm-up",
        "off",
        "--rounds",
        "1",
    )
    rate = ("--arrival", "poisson", "--request-rate", "8", "-t", "3s", "--output-tokens", "6", "--gap-scale", "0.2")
    code, output = locust.run(*load, *rate, "--host", stub.url)
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_begun_request_once(run, stub)
    assert run.facts["rounds"][0]["timed"]["round_s"] == 3.0  # -t without --requests
    turns = collections.Counter(r["session_id"] for r in run.records)
    assert len(turns) > 8
    assert min(turns.values()) < max(turns.values())  # cut by the end
    assert all(sorted(r["turn"] for r in run.records if r["session_id"] == s) == list(range(1, n + 1)) for s, n in turns.items())


def test_a_shape_goes_through_its_steps_in_each_round(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from locust import LoadTestShape\n"
        "from locustfiles.cold_start import ColdStart\n"
        "class Steps(LoadTestShape):\n"
        "    def tick(self):\n"
        "        return None if self.get_run_time() > 4 else (1, 10) if self.get_run_time() < 2 else (4, 10)\n"
    )
    load = ("-f", str(file), "--headless", "--warm-up", "off", "--prompt-tokens", "200", "--output-tokens", "4", "-s", "30")
    code, output = locust.run(*load, "--host", stub.url, "--round-time", "6s")
    assert code == 0, output
    (run,) = locust.runs()
    assert run.facts["shape"] == "Steps"
    assert_each_begun_request_once(run, stub)
    for entry in run.facts["rounds"]:
        assert [users for _, users in entry["timed"]["users"]] == [4], (
            "one step up within the round, and the end of the shape is none"
        )
        mine = [(r["started_at_s"], r["started_at_s"] + r["e2e_ms"] / 1000) for r in run.records if r["round"] == entry["round"]]
        begin = min(start for start, _ in mine)
        at_once = {start - begin: sum(a <= start < b for a, b in mine) for start, _ in mine}
        assert max(count for at_s, count in at_once.items() if at_s < 1.5) == 1
        assert max(at_once.values()) == 4


def test_a_worker_that_is_killed_in_a_timed_round(cluster: Cluster) -> None:  # noqa: F811
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2, "--allow-loss", "--round-time", "8s", "--warm-up", "off")
    cluster.run(records=4)
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    (run,) = cluster.locust.runs()
    lost = [r for r in run.records if r["status"] == "lost"]
    assert run.facts["rounds"][0]["lost_requests"] == len(lost) > 0
    keys = collections.Counter((r["round"], r["request_index"]) for r in run.records)
    assert set(keys.values()) == {1}
    for entry in run.facts["rounds"]:
        assert entry["records"] == entry["planned_requests"]


def test_stopped_in_a_timed_round(locust: LocustProcesses, stub: Stub) -> None:
    process = locust.start(*LOAD, "--host", stub.url, "--round-time", "1h", "-s", "5")
    wait_for(lambda: locust.runs() and len(locust.runs()[0].records) >= 4, what="records")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2, output
    (run,) = locust.runs()
    assert "stopped in round 1 of cold_start" in run.facts["incomplete_reason"]
    assert run.facts["rounds"][0]["planned_requests"] == len(run.records)


def test_a_worker_that_stands_still_past_the_end_of_a_timed_round(cluster: Cluster) -> None:  # noqa: F811
    """It is waited for, begins nothing when it goes on, and the report says that its times are suspect."""
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2, "--round-time", "6s", "--warm-up", "off")
    run = cluster.run(records=4)
    begun_s = run.facts["rounds"][0]["started_at_s"]
    os.kill(workers[0].pid, signal.SIGSTOP)
    wait_for(lambda: time.time() > begun_s + 8, what="the end of the round")
    os.kill(workers[0].pid, signal.SIGCONT)
    output, _ = master.communicate(timeout=240)
    assert master.returncode in (0, 4), output  # 4: an open stream may break
    (run,) = cluster.locust.runs()
    assert not any(r["status"] == "lost" for r in run.records)
    keys = collections.Counter((r["round"], r["request_index"]) for r in run.records)
    assert set(keys.values()) == {1}
    for entry in run.facts["rounds"]:
        assert entry["records"] == entry["planned_requests"]
    first = [r for r in run.records if r["round"] == 1]
    assert max(r["started_at_s"] for r in first) < begun_s + 7
    assert any("is back in round 1" in text for text in run.facts["warnings"])
    assert len({r["worker"] for r in run.records if r["round"] == 2}) == 2
