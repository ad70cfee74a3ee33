"""How a run ends: the same code by the load and by the analysis, with and without --gate; run.json says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, LocustProcesses, Module
from tests.emulated import emulator
from tests.warm.jobs import UNANALYSED

LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "10", "--requests", "10", "--rounds", "2",
        "--prompt-tokens", "400", "--output-tokens", "4")  # fmt: skip
SOME_503 = ("--fault", "status=503@0.3", "--time-scale", "0.1")


@pytest.mark.analysed
def test_failed_requests_end_it_with_4_unless_they_are_allowed(locust: LocustProcesses, module: Module, tmp_path: Path) -> None:
    unanalysed = {UNANALYSED: "1"}
    with emulator(tmp_path, {}, *SOME_503) as url:
        code, output = locust.run(*LOAD, "--host", url, "--run-name", "none", **unanalysed)
        some, said = locust.run(*LOAD, "--host", url, "--run-name", "half", "--max-failures", "90%", **unanalysed)
        off, _ = locust.run(*LOAD, "--host", url, "--run-name", "off", "--exit-code-on-error", "0", **unanalysed)
        gated, told = locust.run(*LOAD, "--host", url, "--run-name", "gated", "--gate")
    assert code == 4, output
    none, half, _, _ = (
        next(run for run in locust.runs() if run.folder.name == name) for name in ("none", "half", "off", "gated")
    )
    failed = sum(record["status"] != "ok" for record in none.records)
    assert failed > 0
    facts = none.facts
    assert (facts["complete"], facts["cause"], facts["failed_requests"]) == (False, "failures", failed)
    reason = facts["incomplete_reason"]
    assert reason.startswith(f"{failed} of 20 requests failed ({failed} x 503 asked for by the fault")
    assert reason.endswith("; --max-failures allows 0")
    assert [entry["complete"] for entry in facts["rounds"]] == [True, True], "every planned request has its record"
    assert some == 0, said
    assert (half.facts["complete"], half.facts["cause"], half.facts["max_failures"]) == (True, "ok", "90%")
    assert off == 0
    assert gated in (4, 6), told  # 6: on a busy machine the load generator was late, which decides before failures
    assert module("locust_kvcache.analysis", none.folder, "--no-report", "--gate").returncode in (4, 6)


def test_a_round_timeout_ends_it_by_a_limit(locust: LocustProcesses, tmp_path: Path) -> None:
    with emulator(tmp_path, {}, "--fault", "stall=30") as url:
        code, output = locust.run(*LOAD, "--host", url, "--round-timeout", "1")
    assert code == 7, output
    (run,) = locust.runs()
    assert run.facts["cause"] == "aborted by a limit"
    assert "was not done within --round-timeout 1 s" in run.facts["incomplete_reason"]


@pytest.mark.parametrize("word", ["--rounds=x", "--no-such-option"])
def test_refused_arguments_are_bad_input(python: str, word: str) -> None:
    command = [python, "-m", "locust_kvcache", "run", "cold_start", "--headless", "--host", "http://127.0.0.1:9", word]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr


def test_an_incomplete_run_is_2_by_the_command_too(python: str, tmp_path: Path) -> None:
    """2 is also what argparse says of arguments; a run that Locust's -t cuts is not one of these."""
    with emulator(tmp_path, {}, "--fault", "stall=30") as url:
        command = [python, "-m", "locust_kvcache", "run", "cold_start", "--headless", "-u", "1", "--host", url, "-t", "8",
                   "--requests", "4", "--output-dir", str(tmp_path), "--no-report", "--warm-up", "off"]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
