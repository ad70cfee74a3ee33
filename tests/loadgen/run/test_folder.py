"""A run's folder has a name that file systems take, and no run that measured something loses its own."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.run import facts
from locust_kvcache.loadgen.run import folder as folder_of
from locust_kvcache.loadgen.run.facts import RunFacts
from locust_kvcache.loadgen.run.folder import RUN_FORMAT, check_writable, create_run_folder, write_json
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


def test_the_last_run_json_has_room_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFacts(tmp_path, {"warnings": []})
    assert (tmp_path / folder_of.RESERVE).stat().st_size == folder_of.RESERVE_BYTES

    def full(path: Path, value: dict[str, Any]) -> None:
        if (tmp_path / folder_of.RESERVE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_json(path, value)

    monkeypatch.setattr(facts, "write_json", full)
    run._facts["incomplete_reason"] = "records cannot be written: No space left on device"
    run._write_last()
    assert json.loads((tmp_path / "run.json").read_text())["incomplete_reason"].startswith("records cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_half_a_file_takes_no_room_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "run.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "run.json", {"a": 1})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_refused_before_any_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "results")
    monkeypatch.setattr(folder_of.shutil, "disk_usage", lambda _: SimpleNamespace(free=300 << 10))
    with pytest.raises(BadInput, match=r"--output-dir: the disk of .* has only 300 KB free; free 2 MB at least"):
        check_writable(tmp_path / "results")
