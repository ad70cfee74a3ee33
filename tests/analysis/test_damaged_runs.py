"""Folders of runs that were damaged: the analysis names the problem, or says which file is unusable, in one line; never a traceback."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.capacity_steps import steps_of
from locust_kvcache.analysis.commands.working_set import size_row
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder, open_stats
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.reading.unusable import Unusable
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.contract.errors import BadInput
from tests.analysis.damage import Damage, damages, rich_run, with_bytes_changed

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of damaged figures
READ, ANALYSED, BYTES = 60, 8, 30  # damages per test; each analysis takes half a second


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich_run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def every_damage(whole: Path) -> list[Damage]:
    """In an order that is random and the same each time."""
    found = list(damages(whole))
    random.Random(19).shuffle(found)
    return found


def damaged(whole: Path, folder: Path, *found: Damage) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    for damage in found:
        damage.done_to(folder)
    return folder


def one_line(work: Callable[[], Any]) -> Any:
    """What came of it, or None where a check refused it in one line."""
    refused: BadInput | None = None
    try:
        return work()
    except Unusable:
        raise
    except BadInput as error:
        refused = error
    assert "\n" not in str(refused)
    return None


def test_every_value_may_be_of_any_type(whole: Path, every_damage: list[Damage], tmp_path: Path) -> None:
    for damage in every_damage[:READ]:
        folder = damaged(whole, tmp_path / "run", damage)
        one_line(lambda folder=folder: load_run(folder))  # type: ignore[misc]


def test_what_was_read_can_be_analysed(whole: Path, every_damage: list[Damage], tmp_path: Path) -> None:
    for damage in every_damage[:ANALYSED]:
        folder = damaged(whole, tmp_path / "run", damage)
        analysis: Analysis | None = one_line(lambda folder=folder: analyse_folder(folder))  # type: ignore[misc]
        if analysis is not None:
            json.dumps(analysis.stats, allow_nan=False).encode()
            assert run_text(analysis.stats)


def test_many_damages_at_once(whole: Path, every_damage: list[Damage], tmp_path: Path) -> None:
    for start in range(0, 36, 12):
        several = every_damage[start : start + 12]
        folder = damaged(whole, tmp_path / "run", *several)
        one_line(lambda folder=folder: analyse_folder(folder))  # type: ignore[misc]


def test_studies_read_damaged_runs(whole: Path, every_damage: list[Damage], tmp_path: Path) -> None:
    for damage in [damage for damage in every_damage if damage.file == "run.json"][:10]:
        folder = damaged(whole, tmp_path / "run", damage)
        for study in (lambda folder: steps_of(load_run(folder), {}, 0.95), size_row):
            one_line(lambda folder=folder, study=study: study(folder))  # type: ignore[misc]


@pytest.mark.parametrize("name", ["run.json", "records.jsonl", "server_metrics.jsonl"])
def test_bytes_are_changed_lost_or_doubled(whole: Path, tmp_path: Path, name: str) -> None:
    dice = random.Random(name)
    content = (whole / name).read_bytes()
    folder = damaged(whole, tmp_path / "run")
    for _ in range(BYTES):
        (folder / name).write_bytes(with_bytes_changed(content, dice))
        one_line(lambda: load_run(folder))


def test_a_damaged_stats_json_is_one_line(whole: Path, tmp_path: Path) -> None:
    """Its tables are what an analysis wrote: what no check names ends in one line too."""
    stats = json.loads(json.dumps(analyse_folder(whole).stats))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "stats.json").write_text(json.dumps(stats))
    assert open_stats(folder).sampled
    found = list(damages(folder))
    random.Random(19).shuffle(found)
    for damage in found[:100]:
        (folder / "stats.json").write_text(json.dumps(stats))
        damage.done_to(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(Unusable):
                one_line(lambda: open_stats(folder))


def codes(folder: Path) -> list[str]:
    return [problem.code for problem in load_run(folder).problems]


def changed(folder: Path, **values: Any) -> Path:
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, **values}))
    return folder


def test_a_round_that_is_listed_twice_is_named(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path / "run")
    rounds = load_run(folder).info.raw["rounds"]
    run = load_run(changed(folder, rounds=[*rounds, {**rounds[1], "wall_s": 9.0}]))
    (problem,) = (problem for problem in run.problems if problem.code == "round_twice")
    assert (
        problem.text
        == "run.json: rounds[2] is round 2 of long_context_high_reuse, which is listed before; the last entry is used."
    )
    assert run.counts["wall_s"].tolist() == [3.0, 9.0]
    assert not run.complete


def test_numbers_that_cannot_be_are_missing_and_named(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path / "run")
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines[0]["ttft_ms"], lines[1]["round"] = 1e308, 1.5
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = load_run(folder)
    assert run.records["ttft_ms"].isna().sum() == 1
    assert len(run.records) == 11
    assert [problem.code for problem in run.problems][:2] == ["record_numbers", "record_keys"]
    assert "round, ttft_ms" in run.problems[0].text


def test_a_scrape_of_other_types_is_left_out_and_counted(whole: Path, tmp_path: Path) -> None:
    folder = damaged(whole, tmp_path / "run")
    with (folder / "server_metrics.jsonl").open("a") as file:
        file.write('{"role": ["server"], "round": 1}\n[]\n{"round": 1e400}\n')
    run = load_run(folder)
    assert len(run.server_metrics) == 4
    assert "3 lines of server_metrics.jsonl are not valid scrapes" in run.problems[-1].text


@pytest.mark.parametrize("files", [["records.jsonl"], ["server_metrics.jsonl"], ["records.jsonl", "server_metrics.jsonl"]])
def test_missing_files(whole: Path, tmp_path: Path, files: list[str]) -> None:
    folder = damaged(whole, tmp_path / "run")
    for name in files:
        (folder / name).unlink()
    assert ("no_records_file" in codes(folder)) is ("records.jsonl" in files)


def test_the_commands_end_with_3_and_one_line(
    whole: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = damaged(whole, tmp_path / "run")
    (folder / "run.json").write_bytes(b'{"format": 1, "run_id": "\xff"}')
    deep = damaged(whole, tmp_path / "deep")
    (deep / "run.json").write_text("[" * 100_000)
    for name, *args in (
        ("locust_kvcache.analysis.__main__", folder),
        ("locust_kvcache.analysis.__main__", deep),
        ("locust_kvcache.analysis.commands.compare_results", whole, folder),
        ("locust_kvcache.analysis.commands.repeats", whole, folder),
    ):
        done = command(name, *args)
        assert done.returncode == 3, name
        assert len(done.stderr.splitlines()) == 1
        assert "run.json: is not valid JSON" in done.stderr


def test_what_no_check_foresaw_is_one_line_too(
    whole: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stats = json.loads(json.dumps(analyse_folder(whole).stats))
    stats["distributions"][0]["p90"] = {"a": 1}
    (tmp_path / "stats.json").write_text(json.dumps(stats))
    arguments = ("--stats", tmp_path / "stats.json", "--output-dir", tmp_path / "out")
    done = command("locust_kvcache.analysis.commands.generate_report", *arguments)
    assert done.returncode == 3
    assert f"{tmp_path}/stats.json: the files hold something that the analysis cannot use (TypeError" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setenv("KV_TRACEBACK", "1")
    with pytest.raises(TypeError):
        command("locust_kvcache.analysis.commands.generate_report", *arguments)
