"""A worker that the network cuts off from the master in the middle of a timed round, while it still reaches the server."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.merge_spool import merge, spool_files
from locust_kvcache.analysis.pipeline import analyse_folder
from tests.conftest import RunFiles, wait_for
from tests.loadgen.test_loss import FILE, Cluster, cluster  # noqa: F401  a fixture
from tests.ports import free_port

RELAY = Path(__file__).resolve().parent.parent / "tcp_relay.py"


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[tuple[subprocess.Popen[bytes], str]]:  # noqa: F811
    """(the network between the master and one worker, the port at which that worker finds the master)"""
    port = str(free_port())
    process = subprocess.Popen([sys.executable, str(RELAY), port, cluster.port])
    yield process, port
    process.kill()
    process.wait()


def cut_off(cluster: Cluster, port: str) -> None:  # noqa: F811
    """Start two workers, the second one behind the relay."""
    cluster.worker()
    cluster.locust.start("-f", FILE, "--worker", "--master-port", port, KV_SPOOL_DIR=str(cluster.spool))


def assert_each_once(run: RunFiles) -> None:
    keys = collections.Counter((r["round"], r["request_index"]) for r in run.records)
    assert set(keys.values()) == {1}
    for entry in run.facts["rounds"]:
        assert entry["records"] == entry["planned_requests"]


def test_the_network_is_back_within_the_round(cluster: Cluster, relay: tuple[subprocess.Popen[bytes], str]) -> None:  # noqa: F811
    """The worker goes on meanwhile with what it had; its records come late, and none is lost."""
    network, port = relay
    cut_off(cluster, port)
    master = cluster.master(2, "--round-time", "16s", "--rounds", "1", "--warm-up", "off")
    run = cluster.run(records=4)
    wait_for(lambda: len({r["worker"] for r in run.records}) == 2, what="records of both workers")
    os.kill(network.pid, signal.SIGSTOP)
    time.sleep(7)  # Locust calls a worker missing after 3 to 4 s
    os.kill(network.pid, signal.SIGCONT)
    output, _ = master.communicate(timeout=240)
    assert master.returncode in (0, 4), output
    (run,) = cluster.locust.runs()
    assert not any(r["status"] == "lost" for r in run.records)
    assert_each_once(run)
    assert any("is back in round 1" in text for text in run.facts["warnings"])


def test_the_network_stays_away(cluster: Cluster, relay: tuple[subprocess.Popen[bytes], str]) -> None:  # noqa: F811
    """What the worker may have sent is lost: in the counts of the round, in no time and no hit rate. What it did send is in its spool."""
    network, port = relay
    cut_off(cluster, port)
    master = cluster.master(2, "--round-time", "8s", "--rounds", "1", "--warm-up", "off", "--allow-loss")
    run = cluster.run(records=4)
    wait_for(lambda: len({r["worker"] for r in run.records}) == 2, what="records of both workers")
    os.kill(network.pid, signal.SIGSTOP)
    output, _ = master.communicate(timeout=240)
    assert master.returncode in (0, 4), output
    (run,) = cluster.locust.runs()
    assert_each_once(run)
    lost = [r for r in run.records if r["status"] == "lost"]
    assert run.facts["rounds"][0]["lost_requests"] == len(lost) > 0
    assert all(r["ttft_ms"] is None and r["reported_cached_tokens"] is None for r in lost)
    assert any("was lost in round 1 of cold_start" in text for text in run.facts["warnings"])
    sent = cluster.stub.times_sent(run.facts["nonce"])
    known = [r for r in run.records if r["status"] == "ok"]
    assert set(sent.values()) == {1}
    assert len(known) <= len(sent) <= len(known) + len(lost)
    (row,) = analyse_folder(run.folder).stats["rounds"]
    measured = [r for r in run.records if r["phase"] != "warm_up"]
    assert row["requests"] == len(measured)
    assert row["failed"] == len([r for r in measured if r["status"] == "lost"])
    assert merge(run.folder, spool_files([str(cluster.spool)])) == len(sent) - len(known)
    assert len([r for r in run.records if r["status"] == "ok"]) == len(sent)
    assert_each_once(run)
