"""A whole campaign against two emulators that its commands start and stop: interrupted, gone on with, compared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from locust_kvcache.campaign.processes import Processes, StepFailed
from tests.conftest import ROOT, hear_sigint, wait_for
from tests.ports import free_port

COMMAND = ["-m", "locust_kvcache", "campaign"]


def deployment(folder: Path, name: str, *emulator: str) -> dict[str, Any]:
    port, pid = free_port(), folder / f"{name}.pid"
    words = f"{sys.executable} -m locust_kvcache.emulator --port {port} --time-scale 0.005 {' '.join(emulator)}"
    return {
        "name": name, "host": f"http://127.0.0.1:{port}", "ready_timeout_s": 60,
        "up": f"{words} & echo $! > {pid}", "down": f"kill $(cat {pid})",
    }  # fmt: skip


def write(folder: Path, *deployments: dict[str, Any], repeats: int = 2) -> Path:
    path = folder / "pair.yaml"
    run = "cold_start -u 2 -r 2 --requests 4 --rounds 2 --no-report --warm-up off"
    described = {"output_dir": str(folder / "results"), "repeats": repeats, "run": run, "deployments": list(deployments)}
    path.write_text(yaml.safe_dump(described))
    return path


def campaign(python: str, path: Path, *args: str) -> tuple[int, str]:
    done = subprocess.run(
        [python, *COMMAND, str(path), *args], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def up(deployment: dict[str, Any]) -> bool:
    try:
        return requests.get(f"{deployment['host']}/health", timeout=1).ok
    except requests.RequestException:
        return False


def test_a_campaign_is_stopped_goes_on_and_compares(python: str, tmp_path: Path) -> None:
    a, b = deployment(tmp_path, "a"), deployment(tmp_path, "b")
    path, folder = write(tmp_path, a, b), tmp_path / "results" / "pair"
    code, plan = campaign(sys.executable, path, "--dry-run")
    assert code == 0
    assert [line.split()[1] for line in plan.splitlines() if line[:1].isdigit()] == ["a-1", "b-1", "a-2", "b-2"]
    assert not folder.exists()

    process = subprocess.Popen([python, *COMMAND, str(path)], cwd=ROOT, text=True, stdout=subprocess.PIPE, preexec_fn=hear_sigint)
    state = folder / "campaign.json"
    wait_for(lambda: state.exists() and json.loads(state.read_text())["runs"][0]["state"] == "done", 120, "the first run")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "run the same command again to continue" in said
    assert not up(a)
    assert not up(b), "what was up when it was stopped is taken down"
    first = (folder / "a-1" / "run.json").read_text()

    code, said = campaign(python, path)
    assert code == 0, said
    assert (folder / "a-1" / "run.json").read_text() == first, "a finished run is kept"
    runs = [json.loads((folder / name / "run.json").read_text()) for name in ("a-1", "b-1", "a-2", "b-2")]
    assert all(run["complete"] for run in runs)
    assert [run["started_at"] for run in runs] == sorted(run["started_at"] for run in runs), "A B A B"
    assert len({run["nonce"] for run in runs}) == 4
    assert [run["deployment"]["name"] for run in runs] == ["a", "b", "a", "b"]
    assert (folder / "comparison" / "report.html").exists()
    assert not up(a)
    assert not up(b)


def test_a_deployment_that_does_not_come_up_costs_only_its_runs(python: str, tmp_path: Path) -> None:
    a = deployment(tmp_path, "a")
    broken = {"name": "broken", "host": "http://127.0.0.1:9", "up": "exit 7", "down": "true"}
    code, said = campaign(python, write(tmp_path, broken, a, repeats=1))
    assert code == 2, said
    assert "broken-1: `up` ended with exit code 7" in said
    assert "a-1: done" in said
    assert "1 finished run: a comparison takes two or more" in said


def test_a_server_that_never_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"http://127\.0\.0\.1:9/health had no answer within 1 s"):
        Processes().bring_up("true", ["http://127.0.0.1:9/health"], 1.0, tmp_path / "log")
