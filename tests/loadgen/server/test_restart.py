"""The arm after_restart: the engine is another process than the store, and is really started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from locust_kvcache.contract.cache_tiers import check_arms
from locust_kvcache.contract.deployment import Access, load_deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.restart import Restart
from locust_kvcache.loadgen.server.arms import warnings_of
from locust_kvcache.loadgen.server.restart import restart_engine
from tests.conftest import ROOT, LocustProcesses, wait_for
from tests.emulated import KV_BYTES, SERVER, STORE, TIMING, emulator
from tests.ports import free_port

AGAIN = """\
import os, signal, subprocess, sys, time
pid_file, *command = sys.argv[1:]
pid = int(open(pid_file).read())
os.kill(pid, signal.SIGKILL)
time.sleep(0.2)
engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
open(pid_file, "w").write(str(engine.pid))
"""


@contextlib.contextmanager
def two_processes(folder: Path) -> Iterator[tuple[str, str]]:
    """(address of the engine, the command that starts it again); its store is a process of its own."""
    profile, pid_file, again = folder / "apart.yaml", folder / "engine.pid", folder / "again.py"
    single = {**SERVER, "timing": TIMING, "store": {**STORE, "chunk_tokens": 256, "load": "async"}}
    profile.write_text(yaml.safe_dump({
        "served_name": "apart", "max_model_len": 32768, "block_size": 16, "kv_bytes_per_token": KV_BYTES, "servers": {"single": single},
    }))  # fmt: skip
    again.write_text(AGAIN)
    ports = free_port(), free_port()
    shared = [sys.executable, "-m", "locust_kvcache.emulator", "--profile", str(profile), "--time-scale", "0.1", "--port"]
    engine = [*shared, str(ports[1]), "--store", f"http://127.0.0.1:{ports[0]}"]
    silent = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    store = subprocess.Popen([*shared, str(ports[0]), "--role", "store"], **silent)  # type: ignore[call-overload]
    first = subprocess.Popen(engine, **silent)  # type: ignore[call-overload]
    pid_file.write_text(str(first.pid))
    try:
        for port in ports:
            wait_for(lambda port=port: requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok, what="the emulator")  # type: ignore[misc]
        yield f"http://127.0.0.1:{ports[1]}", " ".join([sys.executable, str(again), str(pid_file), *engine])
    finally:
        for pid in {store.pid, first.pid, int(pid_file.read_text())}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        store.wait(30)
        first.wait(30)


@pytest.mark.analysed
def test_what_the_store_holds_outlives_the_engine(locust: LocustProcesses, tmp_path: Path) -> None:
    with two_processes(tmp_path) as (url, again):
        file = tmp_path / "restarted.yaml"
        file.write_text(yaml.safe_dump({
            "kind": "non_disagg", "endpoint": url, "metrics": [{"role": "server", "url": f"{url}/metrics"}],
            "restart": {"command": again, "timeout_s": 60},
        }))  # fmt: skip
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "--requests", "4", "--prompt-tokens", "2000", "--warm-up", "off",
            "--control", "off", "--deployment", str(file), "--arms", "cold", "gpu_hit", "after_restart",
        )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    cold, gpu, restarted = run.facts["rounds"]
    assert "restart" not in cold
    assert "restart" not in gpu
    assert restarted["restart"]["ok"], restarted["restart"]
    assert restarted["restart"]["command"] == again
    verdicts = json.loads((run.folder / "stats.json").read_text())["verdicts"]
    hit, after = verdicts[1], verdicts[2]
    assert hit["verdict"] == "GPU hit"
    assert after["gpu_tokens"] == 0  # of the engine nothing is left
    assert 0.8 * hit["cached_tokens"] < after["below_tokens"] == after["cached_tokens"] < hit["cached_tokens"]
    assert f"Of {hit['cached_tokens']:,.0f} cached tokens {after['cached_tokens']:,.0f} were still" in " ".join(output.split())


@pytest.mark.analysed
def test_a_disk_answers_when_the_tiers_above_it_are_empty(locust: LocustProcesses, tmp_path: Path) -> None:
    below = {"chunk_tokens": 256, "capacity_bytes": 1e12, "read_bytes_per_s": 4e8, "write_bytes_per_s": 1e12}
    with emulator(tmp_path, {"cpu": {**below, "load": "sync"}, "disk": below}, "--time-scale", "0.1") as url:
        file = tmp_path / "disk.yaml"
        file.write_text(yaml.safe_dump({
            "kind": "non_disagg", "endpoint": url, "metrics": [{"role": "server", "url": f"{url}/metrics"}],
            "caches": [{"tier": "gpu", "kind": "vllm_reset", "target": url}, {"tier": "cpu", "kind": "lmcache_clear", "target": url}],
        }))  # fmt: skip
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "--requests", "4", "--prompt-tokens", "2000", "--warm-up", "off",
            "--control", "off", "--deployment", str(file), "--arms", "cold", "cpu_hit", "disk_hit",
        )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    assert [action["tier"] for action in run.facts["rounds"][2]["cache_actions"]] == ["gpu", "cpu"]
    verdicts = json.loads((run.folder / "stats.json").read_text())["verdicts"]
    assert [row["verdict"].removeprefix("partial ") for row in verdicts] == ["cold proven", "hit below the GPU", "disk hit"]
    assert verdicts[2]["below_tokens"] == verdicts[1]["below_tokens"] > 0
    assert "disk hit" in output
    assert "Disk hit" not in output  # a sentence on it begins with "A disk hit" or "A partial disk hit"


def test_an_engine_that_does_not_come_back_is_said() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/health"
    begun_s = time.monotonic()
    failed = restart_engine(Restart("exit 7", nowhere, 5.0), Access())
    assert (failed["ok"], failed["detail"]) == (False, "exit code 7")
    gone = restart_engine(Restart("true", nowhere, 0.5), Access())
    assert not gone["ok"]
    assert gone["detail"].startswith(f"{nowhere} did not answer within 0.5 s")
    assert time.monotonic() - begun_s < 60
    (text,) = warnings_of({"arm": "after_restart", "restart": gone})
    assert text.startswith("the engine was not restarted")


def test_the_deployment_says_how(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("kind: other\nendpoint: http://127.0.0.1:1\nrestart: {command: docker restart vllm}\n")
    assert load_deployment(file).restart == Restart("docker restart vllm", "http://127.0.0.1:1/health", 600.0)
    check_arms(("cold", "after_restart"), (), "one", restarts=True)
    with pytest.raises(BadInput, match="--arms after_restart needs a way to start the engine again"):
        check_arms(("cold", "after_restart"), (), "one")
    with pytest.raises(BadInput, match="--arms disk_hit needs the gpu, cpu tier emptied"):
        check_arms(("cold", "disk_hit"), (), "one")
