"""Long runs: columns in mapped files hold the same values as in memory, and what does not fit is refused before it is read."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.basics import mapped
from locust_kvcache.analysis.basics.mapped import Growing, alike, is_repeated, kept, kept_column
from locust_kvcache.analysis.basics.narrow import by_group, rows_taken
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.reading import memory_need
from locust_kvcache.analysis.reading.memory_need import available_bytes, check_all_fit, check_fits
from locust_kvcache.contract.command import run_command
from locust_kvcache.contract.errors import BadInput
from tests.analysis.synthetic import Truth, make_records, write_run

NAN = float("nan")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of more than two numbers are long."""
    monkeypatch.setattr(mapped, "MAPPED_FROM_BYTES", 24)


def test_a_column_of_one_value_takes_no_room() -> None:
    assert is_repeated(alike(np.array([2.0, 2.0])))
    assert is_repeated(alike(np.array([NAN, NAN])))
    assert not is_repeated(alike(np.array([2.0, NAN])))
    assert not is_repeated(alike(np.array([NAN, 2.0])))
    assert len(alike(np.empty(0))) == 0


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "parts", [[[1.0, 1.0], [1.0]], [[1.0, 1.0], [NAN]], [[1.0, 2.0], [3.0, 4.0], [], [5.0]], [[], []], [[NAN], [NAN, NAN], [7.0]]]
)
def test_a_growing_column_is_its_parts(parts: list[list[float]]) -> None:
    growing = Growing()
    for part in parts:
        growing.add(np.array(part))
    np.testing.assert_array_equal(growing.whole(), np.concatenate([np.array(part) for part in parts]))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_parts_of_a_file_that_broke_are_forgotten(left: int) -> None:
    growing, parts = Growing(), [np.arange(3.0), np.arange(3.0, 9.0), np.array([9.0])]
    for part in parts:
        growing.add(part)
    growing.keep(left)
    growing.add(np.array([-1.0]))
    np.testing.assert_array_equal(growing.whole(), np.concatenate([*parts[:left], [-1.0]]))


@pytest.mark.usefixtures("short")
def test_values_stay_the_same_after_their_memory_was_given_back() -> None:
    values = kept(np.arange(1000))
    assert not values.flags.writeable
    mapped.release()
    assert values.sum() == 499_500
    column = pd.Series(pd.Categorical.from_codes(np.arange(100) % 2, pd.Index(["a", "b"])))
    pd.testing.assert_series_equal(kept_column(column), column)
    table = pd.DataFrame({"number": np.arange(100.0), "one": np.broadcast_to(1.0, 100), "text": column})
    pd.testing.assert_frame_equal(rows_taken(table, table["number"].ge(50)), table[table["number"].ge(50)])


def test_groups_come_in_the_order_in_which_they_first_occur() -> None:
    text = pd.Categorical(["b", "a", "b", None], categories=["a", "b", "c"])
    table = pd.DataFrame({"text": text, "round": [2, 1, 2, 1], "value": [1.0, 2.0, 3.0, 4.0]})
    groups = [(key, group["value"].tolist()) for key, group in by_group(table, ["text", "round"], ["value"])]
    assert groups == [(("b", 2), [1.0, 3.0]), (("a", 1), [2.0])]


def test_a_report_over_mapped_columns_has_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth(sessions=20, turns=3)
    folder = write_run(tmp_path / "run", make_records(truth), truth)
    before = analyse_folder(folder)
    monkeypatch.setattr(mapped, "MAPPED_FROM_BYTES", 1)
    after = analyse_folder(folder)
    assert json.dumps(after.stats) == json.dumps(before.stats)
    pd.testing.assert_frame_equal(after.requests, before.requests)


def test_a_disk_without_room_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mapped, "MAPPED_FROM_BYTES", 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"cannot hold the columns of the records: No such file or directory\. Set TMPDIR"):
        kept(np.arange(10.0))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with 2 GB free of which files tell; a folder for its container's limits."""
    monkeypatch.setattr(memory_need, "LOOKED_AT_FROM", 1)
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable:    2000000 kB\n", encoding="utf-8")
    monkeypatch.setattr(memory_need, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory_need, "CGROUP", tmp_path)
    return tmp_path


def test_free_memory_is_the_machines_or_what_its_container_allows(machine: Path) -> None:
    assert available_bytes() == 2_048_000_000
    (machine / "memory.current").write_text("900\n", encoding="utf-8")
    (machine / "memory.stat").write_text("anon 600\ninactive_file 200\nactive_file 100\n", encoding="utf-8")
    (machine / "memory.max").write_text("max\n", encoding="utf-8")
    assert available_bytes() == 2_048_000_000
    (machine / "memory.max").write_text("1000\n", encoding="utf-8")
    assert available_bytes() == 400  # 1000 less the 600 that are no files
    (machine / "meminfo").unlink()
    assert available_bytes() is None


def test_too_many_records_are_refused_before_they_are_read(machine: Path) -> None:
    lines = machine / "records.jsonl"
    with lines.open("wb") as file:
        file.write(b"x" * 99 + b"\n")
        file.truncate(100 * 10_000_000)  # sparse
    with pytest.raises(BadInput) as refused:
        check_fits(machine / "run", [lines])
    assert "the analysis of about 10,000,000 records takes 3.1 GB of memory, and 2.0 GB are free. " in str(refused.value)
    with lines.open("wb") as file:
        file.write(b"x" * 99 + b"\n")
        file.truncate(100 * 1_000_000)
    check_fits(machine / "run", [lines, machine / "none.parquet"])


def test_runs_that_are_read_together_are_counted_together(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000,000 records take 350 MB and 280 bytes each; those of each run before 30 bytes each: 1.47 + 5 x 0.12 GB are more than 2.05."""
    for name in "abcdef":
        (machine / name).mkdir()
        with (machine / name / "records.jsonl").open("wb") as file:
            file.write(b"x" * 99 + b"\n")
            file.truncate(100 * 4_000_000)  # sparse
    monkeypatch.setattr(memory_need, "LOOKED_AT_FROM", 5_000_000)  # of all runs
    runs = [machine / name for name in "abcde"]
    check_all_fit(runs)
    with pytest.raises(BadInput) as refused:
        check_all_fit([*runs, machine / "f" / "stats.json"])
    assert "f/stats.json: the analysis of about 24,000,000 records takes 2.1 GB of memory, and 2.0 GB are free. " in str(
        refused.value
    )
    assert "give fewer runs" in str(refused.value)


@pytest.mark.parametrize("arguments", ["compare A A", "repeats A A", "recovery A", "export A --output-dir OUT"])
def test_every_command_that_reads_records_refuses_too_many(
    arguments: str, machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 3, before anything is read or written."""
    truth = Truth(sessions=2, turns=1)
    write_run(machine / "A", make_records(truth), truth)
    monkeypatch.setattr(memory_need, "BYTES_PER_RECORD", 1e9)
    name, *given = arguments.split()
    module = importlib.import_module(f"locust_kvcache.analysis.commands.{'compare_results' if name == 'compare' else name}")
    monkeypatch.setattr("sys.argv", [name, *(str(machine / word) if word.isupper() else word for word in given)])
    assert run_command(module.main) == 3
    said = capsys.readouterr()
    assert re.search(r"about \d records takes \d\.\d GB of memory, and 2\.0 GB are free\. End other programs, ", said.err)
    assert (said.out, (machine / "OUT").exists()) == ("", False)


def test_columns_that_do_not_fit_on_the_disk_are_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "records.jsonl").write_bytes(b"{}\n" * 10)
    monkeypatch.setattr(memory_need, "DISK_BYTES_PER_RECORD", 1e18)
    with pytest.raises(BadInput, match=r"records keeps 10000000000\.0 GB of columns in .* Set TMPDIR to a folder on a disk with"):
        check_fits(machine, [machine / "records.jsonl"])
