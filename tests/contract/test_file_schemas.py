"""The schemas of a run's files hold for what is written now and for every published run (docs/files.md promises it)."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.contract.file_schemas import NAMES, file_schema
from tests.analysis.synthetic import Truth, synthetic_run
from tests.conftest import ROOT
from tests.schemas import faults, record_schema

RESULTS = ROOT / "docs" / "results"
RUNS = sorted(path.parent for path in RESULTS.rglob("run.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(file_schema(name))


def test_the_schema_of_a_record_is_that_of_the_code() -> None:
    """`python -m tests.schemas` makes it anew."""
    assert file_schema("record") == record_schema()


def test_published_runs_and_records() -> None:
    """The first and the last record of each run; a run has thousands."""
    assert len(RUNS) > 50
    found = {}
    for run in RUNS:
        found[run.name] = faults(json.loads((run / "run.json").read_text()), "run")
        lines = (run / "records.jsonl").read_text().splitlines()
        found[f"{run.name} records"] = [fault for line in (lines[0], lines[-1]) for fault in faults(json.loads(line), "record")]
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_a_published_stats_json() -> None:
    for path in RESULTS.rglob("stats.json"):
        assert faults(json.loads(path.read_text()), "stats") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vllm-0.32-cpu-pd", "vllm-0.32-cpu-trace"])
def test_statistics_that_are_made_now_have_no_key_that_the_schema_lacks(name: str) -> None:
    """A new key or column goes into locust_kvcache/schemas/stats.schema.json; docs/files.md says what may change."""
    assert faults(json.loads(json.dumps(analyse_folder(RESULTS / name).stats)), "stats", only_known_keys=True) == []


@pytest.mark.slow
def test_statistics_of_a_run_with_failures(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", Truth(sessions=6, turns=5, noise=0.05))
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines[3] |= {"status": "timeout", "error": "no answer", "ttft_ms": None, "e2e_ms": None, "tpot_ms": None}
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stats = json.loads(json.dumps(analyse_folder(folder).stats))
    assert stats["failures"]
    assert faults(stats, "stats", only_known_keys=True) == []


def test_what_is_wrong_is_found() -> None:
    run = json.loads((RUNS[0] / "run.json").read_text())
    assert faults({**run, "users": "ten"}, "run") == ["users: 'ten' is not of type 'integer', 'null'"]
    assert faults({key: value for key, value in run.items() if key != "seed"}, "run") == ["run: 'seed' is a required property"]
    assert faults({**run, "later": 1}, "run") == []
    assert "'later' was unexpected" in faults({**run, "later": 1}, "run", only_known_keys=True)[0]
