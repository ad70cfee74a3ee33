"""Events of a deployment in a real run: an emulated engine is killed under load and started again; a command that fails is a warning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from locust_kvcache.analysis.commands import recovery
from tests.conftest import ROOT, LocustProcesses, wait_for
from tests.loadgen.test_outage import listens
from tests.ports import free_port

LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "100", "--requests", "20", "--rounds", "3")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The shell commands that kill it and start it again, and its address."""
    port, pid = free_port(), tmp_path / "engine.pid"
    command = [sys.executable, "-m", "locust_kvcache.emulator", "--port", str(port), "--time-scale", "0.02"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid.write_text(str(process.pid))
    wait_for(lambda: listens(port), what="the engine")
    start = f"cd {ROOT} && {{ {' '.join(command)} & echo $! > {pid}; }}"
    yield {"kill": f"kill -9 $(cat {pid})", "start": start, "url": f"http://127.0.0.1:{port}"}
    for number in {process.pid, int(pid.read_text())}:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def test_an_engine_is_killed_and_started_again(
    locust: LocustProcesses, engine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = {"name": "kill", "after_round": 2, "run": engine["kill"], "undo": engine["start"], "undo_after_s": 0.5,
            "ready": f"{engine['url']}/health"}  # fmt: skip
    events = [kill, {"name": "wrong", "at_s": 0, "run": "echo so; exit 3"}, {"name": "late", "after_round": 9, "run": "true"}]
    file = tmp_path / "mortal.yaml"
    file.write_text(yaml.safe_dump({"kind": "non_disagg", "endpoint": engine["url"], "events": events}))
    code, output = locust.run(*LOAD, "--deployment", str(file), "--run-name", "without", "--no-events")
    assert code == 0, output
    code, output = locust.run(*LOAD, "--deployment", str(file), "--run-name", "with", "--max-failures", "8")
    assert code == 0, output
    without, run = locust.runs()
    assert without.facts["events"] == []
    found = {entry["name"]: entry for entry in run.facts["events"]}
    third = run.facts["rounds"][2]["started_at_s"]
    assert (found["kill"]["exit_code"], found["kill"]["undo_exit_code"]) == (0, 0)
    assert third - 1 < found["kill"]["began_at_s"] < found["kill"]["undo_began_at_s"] < found["kill"]["ready_at_s"]
    assert found["kill"]["undo_began_at_s"] - found["kill"]["began_at_s"] >= 0.5
    assert found["wrong"]["exit_code"] == 3
    assert found["late"]["began_at_s"] is None
    assert any("event wrong: run 'echo so; exit 3' ended with exit code 3" in text for text in run.facts["warnings"])
    assert "event late did not begin: the run ended before" in run.facts["warnings"]
    assert (run.folder / "events.log").read_text().startswith("so\n")
    assert len(run.records) == 60
    monkeypatch.setattr("sys.argv", ["recovery", str(run.folder), "--output-dir", str(tmp_path / "page")])
    assert recovery.main() == 0
    page = json.loads((tmp_path / "page" / "recovery.json").read_text())
    assert page["events"][0]["name"] == "kill"
    assert sum(event["runs"][0]["recomputed_tokens"] or 0 for event in page["events"]) > 0  # it came back with an empty cache
