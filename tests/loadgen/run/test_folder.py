"""A run's folder has a name that file systems take, and no run that measured something loses its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.run.folder import RUN_FORMAT, create_run_folder
from locust_kvcache.loadgen.run.records_file import Collector

UNMEASURED = {"format": RUN_FORMAT, "rounds": [], "incomplete_reason": "stopped in the warm-up of cold_start"}


@pytest.mark.parametrize(
    ("model", "part"), [("../../etc/x", "_..-..-etc-x_"), ("m" * 5000, f"_{'m' * 80}_"), ("\x1b[1m\n", "_1m_")]
)
def test_a_models_name_is_a_short_part_of_the_folders(tmp_path: Path, model: str, part: str) -> None:
    folder = create_run_folder(tmp_path, None, "d", model, "")
    assert folder.parent == tmp_path
    assert part in folder.name


def earlier_run(parent: Path, facts: dict[str, Any], records: str = "") -> Path:
    folder = parent / "mine"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "records.jsonl").write_text(records)
    return folder


def make(parent: Path) -> Path:
    return create_run_folder(parent, "mine", "d", "m", "")


def test_a_run_that_measured_nothing_leaves_its_name_free(tmp_path: Path) -> None:
    folder = earlier_run(tmp_path, UNMEASURED)
    assert make(tmp_path) == folder
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("facts", "records"),
    [
        (UNMEASURED | {"rounds": [{"round": 1}]}, ""),
        (UNMEASURED, "{}\n"),
        (UNMEASURED | {"format": RUN_FORMAT + 1}, ""),
        ({}, ""),
    ],
    ids=["a round has begun", "a record", "another format", "not as we wrote it"],
)
def test_what_may_have_measured_something_stays(tmp_path: Path, facts: dict[str, Any], records: str) -> None:
    folder = earlier_run(tmp_path, facts, records)
    with pytest.raises(BadInput, match="exists already"):
        make(tmp_path)
    assert (folder / "records.jsonl").read_text() == records
    assert json.loads((folder / "run.json").read_text()) == facts


@pytest.mark.parametrize("more", ["notes.txt", "records.d"])
def test_a_folder_with_anything_else_in_it_stays(tmp_path: Path, more: str) -> None:
    folder = earlier_run(tmp_path, UNMEASURED)
    (folder / more).mkdir()
    with pytest.raises(BadInput, match="exists already"):
        make(tmp_path)
    assert len(list(folder.iterdir())) == 3


def test_the_folder_of_a_run_under_way_stays(tmp_path: Path) -> None:
    folder = earlier_run(tmp_path, UNMEASURED)
    (folder / "records.jsonl").unlink()
    under_way = Collector(folder / "records.jsonl")
    with pytest.raises(BadInput, match="exists already"):
        make(tmp_path)
    under_way.close()
    assert make(tmp_path) == folder
