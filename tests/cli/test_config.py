"""locust-kvcache config: the source of each value, the check of a file, the schema; and a run by a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from locust_kvcache.cli.contents import main
from tests.cli.test_run import kvcache
from tests.conftest import RunFiles, Stub
from tests.schemas import faults


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["locust-kvcache"])


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """What `config show` prints: each option with value and source."""
    assert main(["config", "show", *words]) == 0
    lines = [line.strip().split(None, 1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return {name: " | ".join(part.strip() for part in rest.split("  ") if part.strip()) for name, rest in lines}


def test_each_value_has_its_source(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("run.yaml").write_text("rounds: 2\nusers: 4\nseed: 5\nheader: {Authorization: Bearer abc}\n")
    Path("locust.conf").write_text("spawn-rate = 3\nusers = 9\n")
    monkeypatch.setenv("KV_SEED", "6")
    found = shown(capsys, "cold_start", "--config", "run.yaml", "--arrival", "poisson", "--request-rate", "2")
    assert found["rounds"] == "2 | run.yaml"
    assert found["users"] == "4 | run.yaml"
    assert found["seed"] == "6 | environment variable KV_SEED"
    assert found["spawn-rate"] == "3.0 | locust.conf"
    assert found["arrival"] == "poisson | command line"
    assert found["scenarios"] == "cold_start | command line"
    assert found["header"] == "Authorization: (not shown) | run.yaml"
    assert found["burstiness"] == "1.0 | default"
    assert found["locustfile"].endswith("cold_start.py | the scenarios")


def test_changed_leaves_the_defaults_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "--changed", "--rounds", "3")
    assert (found.pop("rounds"), set(found)) == ("3 | command line", {"locustfile"})


def test_a_file_of_a_run_is_shown_by_its_name_and_is_no_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text("rounds: 2\nscenarios: [cold_start]\n")
    found = shown(capsys, "run.yaml", "--seed", "3")
    assert (found["rounds"], found["scenarios"]) == ("2 | run.yaml", "cold_start | run.yaml")
    assert main(["run", "run.yaml", "--headless"]) == 3
    assert "run.yaml is the file of a run, not a scenario; give it as --config run.yaml" in capsys.readouterr().err


def test_help_of_show_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--help"]) == 0
    assert "--changed" in capsys.readouterr().out


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.yaml").write_text("rounds: 2\nusers: 4\n")
    Path("bad.yaml").write_text("arms: [cold, warm]\n")
    assert main(["config", "check", "good.yaml"]) == 0
    assert capsys.readouterr().out == "good.yaml: 2 settings, all usable: locust-kvcache run --config good.yaml\n"
    assert main(["config", "check", "bad.yaml"]) == 3
    assert capsys.readouterr().err.startswith("error: bad.yaml: --arms names 'warm'")
    assert main(["config", "check"]) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenarios: cold_start\nusers: -4\n", "error: bad.yaml: --users is '-4'; expected a whole number of at least 1"),
        ("scenarios: -x\n", "error: bad.yaml: key 'scenarios' has '-x'; expected values that do not begin with '-'"),
    ],
)
def test_values_that_a_run_refuses_are_not_usable(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text(text)
    assert main(["config", "check", "bad.yaml"]) == 3
    assert capsys.readouterr().err.startswith(said)


def test_a_long_value_leaves_the_column_of_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--nonce", "n" * 80]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("nonce ")]
    assert line.split() == ["nonce", "n" * 41 + "...", "command", "line"]


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["rounds"]["minimum"] == 1
    assert main(["config", "schema", "stats"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "stats.json, format 1"
    assert main(["config", "schema", "recrod"]) == 3
    assert "allowed: run, record, stats" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_by_a_file(tmp_path: Path, python: str, stub: Stub) -> None:
    (tmp_path / "run.yaml").write_text(
        f"scenarios: [cold_start]\nhost: {stub.url}\nusers: 2\nspawn-rate: 2\nheadless: true\nrequests: 4\nrounds: 1\n"
        "warm-up: off\nno-report: true\nrun-name: one\n"
    )
    done = kvcache(tmp_path, "run", "--config", "run.yaml", "--requests", "2", python=python)
    assert done.returncode == 0, done.stderr
    run = RunFiles(tmp_path / "results" / "one")
    assert (len(run.records), run.facts["users"]) == (2, 2)
    assert run.facts["config_file"]["path"] == "run.yaml"
    assert "--rounds=1" in run.facts["config_file"]["words"]
    assert "--requests=4" not in run.facts["config_file"]["words"]
    assert faults(run.facts, "run", only_known_keys=True) == []
    assert [fault for record in run.records for fault in faults(record, "record", only_known_keys=True)] == []
    assert run.facts["command"][-4:] == ["--config", "run.yaml", "--requests", "2"]
