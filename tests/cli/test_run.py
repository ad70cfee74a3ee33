"""What `locust-kvcache run` makes of its words; and a whole run by it, as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from locust_kvcache.cli.run import locust_arguments
from locust_kvcache.cli.run_help import run_help
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import GROUPS
from tests.conftest import ROOT, RunFiles, Stub, hear_sigint, wait_for
from tests.ports import free_port

FILES = ROOT / "locustfiles"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "file", "rest"),
    [
        ("cold_start -u 4", "cold_start.py", "-u 4 --scenarios cold_start"),
        ("--headless -u 4 cold_start -r 4", "cold_start.py", "--headless -u 4 -r 4 --scenarios cold_start"),
        ("--run-name cold_start cold_start", "cold_start.py", "--run-name cold_start --scenarios cold_start"),
        ("mine.yaml -u 4", "", "-u 4 --scenarios mine.yaml"),  # any of our classes can send it: all are loaded
        ("dose_response", "", "--scenarios dose_response"),
        ("--trace x.jsonl --headless", "trace_replay.py", "--trace x.jsonl --headless"),
        ("--headless --scenarios cold_start", "cold_start.py", "--headless --scenarios cold_start"),
        ("--worker --processes 2", "", "--worker --processes 2"),
        ("--host http://h", "", "--host http://h"),  # the web page asks which scenario
    ],
)
def test_scenarios_become_locustfiles(typed: str, file: str, rest: str) -> None:
    assert locust_arguments(typed.split()) == ["-f", str(FILES / file), *rest.split()]


def test_several_scenarios_load_their_files_only() -> None:
    found = locust_arguments(["cold_start", "code_generation"])
    assert found[1] == f"{FILES / 'cold_start.py'},{FILES / 'code_generation.py'}"
    assert found[2:] == ["--scenarios", "cold_start", "code_generation"]


def test_a_locustfile_of_ones_own_is_left_to_locust() -> None:
    typed = ["-f", "mine.py", "-u", "4", "MyUser"]
    assert locust_arguments(typed) == typed


def test_files_of_the_working_directory_come_first(tmp_path: Path) -> None:
    (tmp_path / "locustfiles").mkdir()
    (tmp_path / "locustfiles" / "cold_start.py").write_text("")
    assert locust_arguments(["cold_start"])[1] == "locustfiles/cold_start.py"
    assert locust_arguments([])[1] == "locustfiles"


def test_headless_wants_a_scenario() -> None:
    with pytest.raises(BadInput, match="name one or more: locust-kvcache run agent_coding"):
        locust_arguments(["--headless", "--host", "http://h"])


def test_help_lists_every_option_of_ours_by_group() -> None:
    text = run_help()
    assert [text.index(f"\n{group}:\n") for group in GROUPS] == sorted(text.index(f"\n{group}:\n") for group in GROUPS)
    assert not [option.name for option in OPTIONS if f"  --{option.name}" not in text]
    assert all(locusts in text for locusts in ("--host", "--users", "--processes", "--expect-workers", "locust --help"))


def kvcache(folder: Path, *args: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "locust_kvcache", *args]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_a_run_with_a_scenario_of_ones_own(python: str, tmp_path: Path, stub: Stub) -> None:
    """The name is found in ./scenarios before the shipped ones; run.json says which file it was, and the command as typed."""
    (tmp_path / "scenarios").mkdir()
    text = (ROOT / "scenarios" / "cold_start.yaml").read_text().replace("requests: 30", "requests: 4")
    (tmp_path / "scenarios" / "cold_start.yaml").write_text(text)
    typed = ("run", "--headless", "-u", "2", "cold_start", "-r", "2", "--host", stub.url, "--no-report", "--only-summary",
             "--prompt-tokens", "200", "--output-tokens", "3", "--max-concurrency", "2", "--goodput", "ttft:900",
             "--warm-up", "off")  # fmt: skip
    done = kvcache(tmp_path, *typed, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (path.parent for path in tmp_path.glob("results/*/run.json"))
    facts = RunFiles(folder).facts
    assert facts["command"] == ["locust-kvcache", *typed]
    assert facts["scenario_files"] == {"cold_start": str(tmp_path / "scenarios" / "cold_start.yaml")}
    assert facts["given_lengths"] == {"prompt_tokens": 200, "output_tokens": 3}
    assert (facts["scenarios"][0]["requests"], facts["scenarios"][0]["output_tokens"], facts["users"]) == (4, 3, 2)
    assert facts["deployment"]["slo"] == {"ttft_ms": 900.0}
    assert facts["models_file"] == str(ROOT / "configs" / "models.yaml")
    assert len(RunFiles(folder).records) == 8


@pytest.mark.slow
def test_locusts_exit_code_is_the_commands(python: str, tmp_path: Path) -> None:
    done = kvcache(tmp_path, "dry-run", "cold_start", "-u", "4", python=python)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Dry run: nothing is sent.")
    done = kvcache(tmp_path, "dry-run", "cold_strat", python=python)
    assert done.returncode == 3
    assert "scenario 'cold_strat' is unknown; available: agent_coding" in done.stderr


@pytest.mark.slow
def test_processes_of_one_host(python: str, tmp_path: Path, stub: Stub) -> None:
    port = str(free_port())
    load = ("--headless", "-u", "2", "-r", "2", "--host", stub.url, "--requests", "4", "--no-report", "--only-summary",
            "--output-tokens", "4", "--warm-up", "off")  # fmt: skip
    words = ("--processes", "2", "--master-bind-port", port, "--master-port", port)
    done = kvcache(tmp_path, "run", "cold_start", *load, *words, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (path.parent for path in tmp_path.glob("results/*/run.json"))
    assert (RunFiles(folder).facts["workers"], RunFiles(folder).facts["complete"]) == (2, True)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured(python: str, tmp_path: Path, slow_stub: Stub) -> None:
    load = ("--headless", "-u", "2", "-r", "2", "--host", slow_stub.url, "--requests", "30", "--no-report", "--run-name", "cut",
            "--warm-up", "off")  # fmt: skip
    process = subprocess.Popen(
        [python, "-m", "locust_kvcache", "run", "cold_start", *load], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=hear_sigint,
    )  # fmt: skip
    try:
        run = RunFiles(tmp_path / "results" / "cut")
        wait_for(lambda: run.records, what="the first record")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 2
    finally:
        process.kill()
        process.wait()
    assert run.facts["incomplete_reason"].startswith("stopped in round 1 of cold_start")
    assert run.facts["ended_at"] is not None
