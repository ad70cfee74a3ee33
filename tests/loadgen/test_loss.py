"""Workers that are killed, stall, come late, and a master that dies: nothing is sent twice, nothing that was measured is gone."""

from __future__ import annotations

import collections
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LocustProcesses, Module, RunFiles, Stub, start_stub, wait_for
from tests.loadgen.master.test_coordinator import assert_each_once_per_round
from tests.ports import free_port

FILE = "locustfiles/cold_start.py"
SHORT = ("--prompt-tokens", "400", "--output-tokens", "8")  # few chunks, far apart: as long as many, in less computing time


class Cluster:
    """A master and workers against a stub; killed worker by worker."""

    def __init__(self, locust: LocustProcesses, stub: Stub, spool: Path) -> None:
        self.locust, self.stub, self.port, self.spool = locust, stub, str(free_port()), spool

    def worker(self) -> subprocess.Popen[str]:
        return self.locust.start("-f", FILE, "--worker", "--master-port", self.port, KV_SPOOL_DIR=str(self.spool))

    def master(self, workers: int, *more: str, users: int = 6, requests: int = 60) -> subprocess.Popen[str]:
        load = (
            "--headless",
            "-u",
            str(users),
            "-r",
            "100",
            "--host",
            self.stub.url,
            "--requests",
            str(requests),
            "--rounds",
            "2",
            *SHORT,
        )
        wait = ("--expect-workers", str(workers), "--expect-workers-max-wait", "60")
        return self.locust.start("-f", FILE, *load, "--master", "--master-bind-port", self.port, *wait, *more)

    def run(self, records: int = 1) -> RunFiles:
        """The run, once it has that many records."""
        wait_for(lambda: self.locust.runs() and len(self.locust.runs()[0].records) >= records, what="records")
        return self.locust.runs()[0]


@pytest.fixture
def cluster(locust: LocustProcesses, tmp_path: Path) -> Iterator[Cluster]:
    """Against a server that takes about a second for a request."""
    server = start_stub(tmp_path, "0.2", "0.11")
    yield Cluster(locust, server, tmp_path / "spool")
    server.process.kill()
    server.process.wait()


def sent_by_round(run: RunFiles, stub: Stub) -> collections.Counter[int]:
    """How often the server got each planned request."""
    return collections.Counter(stub.times_sent(run.facts["nonce"]).values())


@pytest.mark.parametrize("allowed", [False, True], ids=["exit 2", "--allow-loss"])
def test_a_killed_worker_in_a_cold_round(cluster: Cluster, allowed: bool) -> None:
    workers = [cluster.worker() for _ in range(3)]
    master = cluster.master(3, *(["--allow-loss"] if allowed else []))
    cluster.run(records=4)
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = master.communicate(timeout=240)
    assert master.returncode == (0 if allowed else 2), output
    (run,) = cluster.locust.runs()
    facts = run.facts
    assert facts["complete"] == allowed, facts["incomplete_reason"]
    assert facts["cause"] == ("ok" if allowed else "incomplete")
    first = [r for r in run.records if r["round"] == 1]
    lost = [r for r in first if r["status"] == "lost"]
    assert len(first) == 60
    assert len({r["request_index"] for r in first}) == 60
    assert 2 <= len(lost) <= 10  # what was open, and a window at most; the worker's share was 20
    assert {r["status"] for r in first} == {"ok", "lost"}
    assert all(r["ttft_ms"] is None and r["planned_cached_tokens"] is None for r in lost)
    assert facts["rounds"][0]["lost_requests"] == len(lost)
    assert any("was lost in round 1 of cold_start" in text for text in facts["warnings"])
    # by the server's own log no request of the cold round came twice: those in round 1 that came twice would be 3 in all
    counts = sent_by_round(run, cluster.stub)
    assert set(counts) <= {1, 2}
    assert counts[2] >= 60 - len(lost)
    second = [r for r in run.records if r["round"] == 2]
    assert [r["status"] for r in second] == ["ok"] * 60
    assert facts["users"] == 6  # all users are back for round 2, on the workers that are left
    assert len({r["worker"] for r in second}) == 2


def test_a_stall_of_eight_seconds_loses_nothing(cluster: Cluster) -> None:
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2)
    cluster.run(records=4)
    os.kill(workers[0].pid, signal.SIGSTOP)
    time.sleep(8)
    os.kill(workers[0].pid, signal.SIGCONT)
    output, _ = master.communicate(timeout=240)
    assert master.returncode in (0, 1), output  # 1: an open stream may break
    (run,) = cluster.locust.runs()
    assert not any(r["status"] == "lost" for r in run.records)
    assert len(run.records) == 120
    assert sent_by_round(run, cluster.stub) == {2: 60}
    assert any("is back in round 1" in text for text in run.facts["warnings"])
    assert len({r["worker"] for r in run.records if r["round"] == 2}) == 2


def test_workers_that_all_stall_and_come_back_end_the_run(cluster: Cluster) -> None:
    """Locust stops a test when its last worker is missing; the workers are back while the run is being closed."""
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2)
    run = cluster.run(records=4)
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    wait_for(lambda: "every worker was lost" in run.facts["incomplete_reason"], what="the end of the run")
    for worker in workers:
        os.kill(worker.pid, signal.SIGCONT)
    output, _ = master.communicate(timeout=120)
    assert master.returncode == 2, output
    assert {worker.wait(60) for worker in workers} == {0}


@pytest.mark.analysed
def test_the_last_worker_dies(cluster: Cluster) -> None:
    """Headless, without -t: the run ends, and what there is is kept and told."""
    worker = cluster.worker()
    master = cluster.master(1)
    run = cluster.run(records=4)
    os.killpg(worker.pid, signal.SIGKILL)
    output, _ = master.communicate(timeout=120)
    assert master.returncode == 2, output
    assert "every worker was lost" in run.facts["incomplete_reason"]
    assert 4 <= len(run.records) < 60
    assert "INCOMPLETE" in output
    assert (run.folder / "stats.json").is_file()


def test_workers_of_processes_end_with_their_master(locust: LocustProcesses, slow_stub: Stub, tmp_path: Path) -> None:
    """Its port is given once: the workers connect to it."""
    load = ("--headless", "-u", "2", "-r", "100", "--host", slow_stub.url, "--requests", "40", "--rounds", "2", *SHORT)
    ports = ("--processes", "2", "--master-bind-port", str(free_port()))
    master = locust.start("-f", FILE, *load, *ports, KV_SPOOL_DIR=str(tmp_path / "spool"))
    wait_for(lambda: locust.runs() and locust.runs()[0].records, what="records")
    children = children_of(master.pid)
    assert len(children) >= 2
    os.kill(master.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_running(child) for child in children), seconds=30, what="the end of the workers")
    assert list((tmp_path / "spool").rglob("*.jsonl"))


def children_of(parent: int) -> list[int]:
    """Those that run Locust: the analysis waits beside them."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [pid for pid in pids if stat_of(pid)[1:2] == [str(parent)] and b"analysis" not in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def stat_of(pid: int) -> list[str]:
    """State and parent of a process, and what follows; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_running(pid: int) -> bool:
    return stat_of(pid)[:1] not in ([], ["Z"])


def test_a_worker_that_comes_late_is_used_from_the_next_round_on(cluster: Cluster) -> None:
    cluster.worker()
    master = cluster.master(1, requests=30)
    cluster.run(records=2)
    cluster.worker()
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    (run,) = cluster.locust.runs()
    assert_each_once_per_round(run, cluster.stub)
    by_round = {number: {r["worker"] for r in run.records if r["round"] == number} for number in (1, 2)}
    assert [len(by_round[number]) for number in (1, 2)] == [1, 2]
    assert run.facts["users"] == 6


def test_a_killed_master_leaves_spools(cluster: Cluster, module: Module) -> None:
    worker = cluster.worker()
    master = cluster.master(1)
    run = cluster.run(records=8)
    os.killpg(master.pid, signal.SIGKILL)
    master.wait()
    written = {r["request_index"] for r in run.records}
    (spool,) = cluster.spool.rglob("*.jsonl")
    seen: list[tuple[int, int]] = []

    def settled() -> bool:
        """The worker goes on with what was released to it, and no further: all that was sent is spooled, and so it stays."""
        time.sleep(2)
        seen.append((len(spool.read_text().splitlines()), sum(cluster.stub.times_sent(run.facts["nonce"]).values())))
        return seen[-1][0] == seen[-1][1] and seen[-2:-1] == seen[-1:]

    wait_for(settled, seconds=50, what="the end of what was released")
    os.killpg(worker.pid, signal.SIGSTOP)  # what is compared below does not change
    spooled = {json.loads(line)["request_index"] for line in spool.read_text().splitlines()}
    assert spooled >= written
    assert len(spooled) > len(written)
    assert seen[-1][1] < 60
    assert worker.poll() is None  # Locust's own 60 s until it leaves
    with (run.folder / "records.jsonl").open("a") as file:
        file.write('{"run_id": "torn')
    merge = ("analysis.merge_spool", run.folder, cluster.spool)
    done = module(*merge)
    assert done.returncode == 0, done.stderr
    assert f"{len(spooled) - len(written)} records added" in done.stdout
    assert sorted(r["request_index"] for r in run.records) == sorted(spooled)
    assert not run.facts["complete"]
    assert "the master died" in run.facts["incomplete_reason"]
    assert module(*merge).stdout.startswith("0 records")
    assert module("analysis", run.folder, "--no-report").returncode == 0


def test_spools_go_when_the_run_is_closed(cluster: Cluster) -> None:
    worker = cluster.worker()
    master = cluster.master(1, requests=6)
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    worker.wait(60)
    assert not list(cluster.spool.rglob("*.jsonl"))


def test_a_worker_that_leaves_hands_back_what_it_had_not_begun(cluster: Cluster) -> None:
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2, "-s", "10", "--allow-loss", requests=30)
    cluster.run(records=2)
    workers[0].terminate()
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    (run,) = cluster.locust.runs()
    assert_each_once_per_round(run, cluster.stub)
    assert any("was lost in round 1" in text for text in run.facts["warnings"])
    first, second = run.facts["rounds"]
    assert (first["users_at_start"], first["users_at_end"], first["workers_lost"]) == (6, 3, 1)
    assert (second["users_planned"], second["users_at_start"], second["users_at_end"]) == (6, 6, 6)


def assert_all_users_in_every_round(run: RunFiles, where: str) -> None:
    loads = [(entry["users_planned"], entry["users_at_start"], entry["users_at_end"]) for entry in run.facts["rounds"]]
    assert loads == [(6, 6, 6), (6, 6, 6)]
    assert run.facts["complete"], run.facts["incomplete_reason"]
    assert any("was lost" in text and where in text for text in run.facts["warnings"]), run.facts["warnings"]
    assert len(run.records) == 120
    assert {record["status"] for record in run.records} == {"ok"}


@pytest.mark.parametrize("pause_s", ["1", "12"], ids=["early in the pause", "seen in the pause"])
def test_a_worker_killed_between_rounds_is_replaced_before_go(cluster: Cluster, pause_s: str) -> None:
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2, "--round-pause", pause_s)
    run = cluster.run(records=60)
    wait_for(lambda: run.facts["rounds"][0]["complete"], what="the end of round 1")
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = master.communicate(timeout=120)
    assert master.returncode == 0, output
    assert_all_users_in_every_round(run, "")
    assert len({record["worker"] for record in run.records if record["round"] == 2}) == 1


def test_a_worker_killed_in_the_preflight_is_replaced_before_go(cluster: Cluster) -> None:
    workers = [cluster.worker() for _ in range(2)]
    master = cluster.master(2)
    wait_for(lambda: len(cluster.stub.bodies()) >= 1, 60, "the preflight")
    os.killpg(workers[0].pid, signal.SIGKILL)
    output, _ = master.communicate(timeout=120)
    assert master.returncode == 0, output
    (run,) = cluster.locust.runs()
    assert_all_users_in_every_round(run, "")
    assert len({record["worker"] for record in run.records}) == 1


def test_workers_that_do_not_come_end_it_by_a_limit(locust: LocustProcesses) -> None:
    never = ("--master", "--master-bind-port", str(free_port()), "--expect-workers", "1", "--expect-workers-max-wait", "1")
    code, output = locust.run("-f", FILE, "--headless", "-u", "1", "--host", "http://127.0.0.1:9", *never)
    assert code == 7, output
    assert "0 of 1 workers came in time: exit code 7" in output


@pytest.mark.parametrize("room", ["for run.json", "for nothing"])
def test_a_full_disk_ends_the_run_and_loses_nothing_that_was_written(
    fresh_locust: LocustProcesses, cluster: Cluster, room: str
) -> None:
    process = fresh_locust.start(
        "-f", FILE, "--headless", "-u", "6", "-r", "100", "--host", cluster.stub.url, "--requests", "60", *SHORT
    )
    run = cluster.run(records=2)
    used = (run.folder / "records.jsonl").stat().st_size
    limit = used + 4000 + ((run.folder / "run.json").stat().st_size if room == "for run.json" else 0)
    # fresh: its output is a pipe, as a file would reach the limit too
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2, output
    assert "cannot be written" in output
    assert not run.facts["complete"]
    if room == "for run.json":
        assert "records cannot be written" in run.facts["incomplete_reason"]
    lines = (run.folder / "records.jsonl").read_text().splitlines()
    assert len(lines) >= 3
    assert all(json.loads(line)["status"] == "ok" for line in lines[:-1])  # the last one may be torn


def test_a_disk_that_is_full_for_a_metrics_page_ends_the_run(locust: LocustProcesses, cluster: Cluster) -> None:
    """What was measured is kept, and the process ends."""
    load = ("-f", FILE, "--headless", "-u", "6", "-r", "100", "--requests", "30", "--rounds", "2", *SHORT)
    process = locust.start(*load, "--host", cluster.stub.url)
    run = cluster.run(records=2)
    (run.folder / "server_metrics.jsonl").unlink()
    (run.folder / "server_metrics.jsonl").symlink_to("/dev/full")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "server_metrics.jsonl cannot be written: " in run.facts["incomplete_reason"]
    assert len(run.records) == 30
    assert run.facts["rounds"][0]["complete"]
