"""Several hosts as network namespaces: master, server and two load hosts, one behind 50 ms and 1 % loss, its clock wrong by 10 min."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LOCUST, ROOT, TIMED, LocustProcesses, Stub, wait_for
from tests.loadgen.master.test_coordinator import assert_barrier, assert_each_once_per_round

pytestmark = pytest.mark.xdist_group(TIMED)

DELAY_MS, LOSS, SKEW_S = 50.0, 0.01, 600.0
HOSTS = {"master": 1, "server": 2, "near": 3, "far": 4}
FILE = "locustfiles/cold_start.py"


def ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True)


def address(host: str) -> str:
    return f"10.213.7.{HOSTS[host]}"


def inside(host: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", f"kv-{host}", *command]


def remove() -> None:
    for host in (*HOSTS, "switch"):
        subprocess.run(["ip", "netns", "del", f"kv-{host}"], check=False, capture_output=True)


def connect_far(link: subprocess.Popen[str]) -> None:
    """The far host hangs on the slow link: its frames reach the bridge 50 ms later, one in a hundred never."""
    assert link.stdout is not None
    assert link.stdout.readline() == "ready\n", link.communicate()
    ip("link", "set", "kv-far", "netns", "kv-switch")
    ip("-n", "kv-switch", "link", "set", "kv-far", "master", "kv-bridge", "up")
    ip("link", "set", "kv-far-there", "netns", "kv-far")
    ip("-n", "kv-far", "link", "set", "kv-far-there", "name", "eth0")


@pytest.fixture
def hosts() -> Iterator[None]:
    """A namespace per host, and one for the bridge between them, where no firewall of this machine's (Docker's) reaches; the far host
    is behind tests/slow_link.py."""
    if os.geteuid() != 0 or not shutil.which("ip") or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces need root, ip (Debian: iproute2) and /dev/net/tun")
    remove()
    command = [sys.executable, str(ROOT / "tests" / "slow_link.py"), "kv-far", "kv-far-there", str(DELAY_MS), str(LOSS), "1"]
    link: subprocess.Popen[str] | None = None
    try:
        ip("netns", "add", "kv-switch")
        ip("-n", "kv-switch", "link", "add", "kv-bridge", "type", "bridge")
        ip("-n", "kv-switch", "link", "set", "kv-bridge", "up")
        for host in HOSTS:
            ip("netns", "add", f"kv-{host}")
            if host == "far":
                link = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                connect_far(link)
            else:
                ip("-n", "kv-switch", "link", "add", f"kv-{host}", "type", "veth", "peer", "name", "eth0", "netns", f"kv-{host}")
                ip("-n", "kv-switch", "link", "set", f"kv-{host}", "master", "kv-bridge", "up")
            ip("-n", f"kv-{host}", "addr", "add", f"{address(host)}/24", "dev", "eth0")
            ip("-n", f"kv-{host}", "link", "set", "eth0", "up")
            ip("-n", f"kv-{host}", "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        remove()
        pytest.skip(f"this kernel or container refuses network namespaces: {error.stderr.decode()[:200]}")
    yield
    if link is not None:
        link.kill()
        link.wait()
    remove()


def test_four_hosts(hosts: None, locust: LocustProcesses, tmp_path: Path) -> None:
    log = tmp_path / "stub.jsonl"
    serve = (sys.executable, str(ROOT / "tests" / "stub_server.py"), "8000", str(log), "0.1", "0.01", "0.0.0.0")
    locust.processes.append(subprocess.Popen(inside("server", *serve), start_new_session=True, text=True))
    url = f"http://{address('server')}:8000"
    probe = "import socket, sys; socket.create_connection((sys.argv[1], 8000), 1)"
    reach = inside("master", sys.executable, "-c", probe, address("server"))
    wait_for(lambda: subprocess.run(reach, check=False, capture_output=True).returncode == 0, what="the server's host")
    (tmp_path / "sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() + {SKEW_S}\n")
    for host in ("near", "far"):
        command = inside(host, *LOCUST, "-f", FILE, "--worker", "--master-host", address("master"))
        env = {**os.environ, "KV_SPOOL_DIR": str(tmp_path / "spool")}
        if host == "far":
            env["PYTHONPATH"] = str(tmp_path)
        locust.processes.append(subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, text=True))
    load = (
        "-f",
        FILE,
        "--headless",
        "-u",
        "6",
        "-r",
        "100",
        "--host",
        url,
        "--requests",
        "60",
        "--rounds",
        "2",
        "--only-summary",
    )
    wait = (
        "--master",
        "--expect-workers",
        "2",
        "--expect-workers-max-wait",
        "30",
        "--no-report",
        "--output-dir",
        str(locust.output_dir),
    )
    done = subprocess.run(
        inside("master", *LOCUST, *load, *wait), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = locust.runs()
    assert_each_once_per_round(run, Stub(8000, log, locust.processes[0]))  # type: ignore[arg-type]
    assert_barrier(run)
    by_worker = {worker: [r for r in run.records if r["worker"] == worker] for worker in {r["worker"] for r in run.records}}
    assert len(by_worker) == 2
    fastest_ms = sorted(min(r["ttft_ms"] for r in rows) for rows in by_worker.values())
    assert fastest_ms[1] - fastest_ms[0] > 0.8 * DELAY_MS  # the far host's own delay is in its latency, and nobody else's
    assert all(entry["starved_s"] < 1.0 for entry in run.facts["rounds"])
    offsets_s = sorted(run.facts["clock_offsets_s"].values())
    assert offsets_s == [pytest.approx(0, abs=1), pytest.approx(SKEW_S, abs=1)]
    for entry in run.facts["rounds"]:  # in order across the hosts, though one clock is ahead
        began = [r["started_at_s"] - entry["started_at_s"] for r in run.records if r["round"] == entry["round"]]
        assert -5 < min(began) <= max(began) < entry["wall_s"] + 5
