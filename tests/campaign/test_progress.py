"""The order of a campaign's runs, and what is kept of them when the command is given again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from locust_kvcache.campaign.progress import DONE, FAILED, Progress, set_aside
from locust_kvcache.campaign.spec import Campaign, Contender
from locust_kvcache.contract.errors import BadInput


def contender(name: str) -> Contender:
    return Contender(name, {"name": name, "kind": "other", "endpoint": "http://h:1"}, (), None, None, (), 1.0)


def campaign(folder: Path, repeats: int = 2, *words: str) -> Campaign:
    return Campaign("c", repeats, folder, words or ("cold_start",), (contender("a"), contender("b")))


def names(progress: Progress) -> list[str]:
    return [run.run for run in progress.left]


def test_deployments_take_turns(tmp_path: Path) -> None:
    assert names(Progress(campaign(tmp_path, 3))) == ["a-1", "b-1", "a-2", "b-2", "a-3", "b-3"]


def test_finished_runs_are_kept_and_failed_ones_are_tried_again(tmp_path: Path) -> None:
    progress = Progress(campaign(tmp_path))
    progress.note(progress.runs[0], DONE, 0, None)
    progress.note(progress.runs[1], FAILED, 2, "incomplete")
    again = Progress(campaign(tmp_path))
    assert names(again) == ["b-1", "a-2", "b-2"]
    assert again.folders() == [tmp_path / "c" / "a-1"]


def test_repeats_may_be_added(tmp_path: Path) -> None:
    progress = Progress(campaign(tmp_path, 1))
    for run in progress.runs:
        progress.note(run, DONE, 0, None)
    assert names(Progress(campaign(tmp_path, 2))) == ["a-2", "b-2"]


def test_the_baselines_runs_come_first(tmp_path: Path) -> None:
    progress = Progress(campaign(tmp_path))
    for run in progress.runs:
        progress.note(run, DONE, 0, None)
    assert [folder.name for folder in progress.folders()] == ["a-1", "a-2", "b-1", "b-2"]


def test_other_options_are_another_campaign(tmp_path: Path) -> None:
    Progress(campaign(tmp_path)).write()
    with pytest.raises(BadInput, match="give the campaign another name"):
        Progress(campaign(tmp_path, 2, "cold_start", "--rounds", "5"))
    changed = dataclasses.replace(campaign(tmp_path), contenders=(contender("a"), contender("x")))
    with pytest.raises(BadInput, match="deployments is"):
        Progress(changed)


def test_a_state_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "campaign.json").write_text("{")
    with pytest.raises(BadInput, match=r"campaign\.json cannot be read"):
        Progress(campaign(tmp_path))


def test_a_cut_runs_files_stay(tmp_path: Path) -> None:
    for _ in range(2):
        (tmp_path / "a-1").mkdir()
        set_aside(tmp_path / "a-1")
    set_aside(tmp_path / "a-1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.cut-1", "a-1.cut-2"]
