"""Records as Parquet parts: written while a run goes on, readable whatever was killed, the same to every reader as lines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands.merge_spool import merge
from locust_kvcache.analysis.reading.part_writer import write_part
from locust_kvcache.analysis.reading.record_lines import to_lines
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.contract.record import Record
from locust_kvcache.contract.record_files import record_files
from locust_kvcache.loadgen.run.record_parts import RecordParts
from locust_kvcache.loadgen.run.records_file import Collector
from tests.analysis.synthetic import Truth, make_records, write_run

TRUTH = Truth(sessions=2, turns=3)  # 12 records


def records() -> list[Record]:
    """With what JSON and Parquet may tell differently: texts of any kind, flags, whole numbers in a column of fractions."""
    made = make_records(TRUTH)
    odd = dataclasses.replace(made[3], status="http_error", error='HTTP 500: "a\u2028b"\nc', client_limited=True, tpot_ms=20.0)
    return [*made[:3], odd, *made[4:]]


def names(folder: Path) -> list[str]:
    return [path.name for path in record_files(folder)]


def in_parts(folder: Path, made: list[Record], most: int) -> tuple[Path, Collector]:
    """A run whose records came one by one, with parts of so many."""
    write_run(folder, made, TRUTH)
    (folder / "records.jsonl").unlink()
    collector = Collector(folder / "records.jsonl", parts=RecordParts(folder, most_records=most))
    for record in made:
        collector.add([record.to_json()], [[record.scenario, record.round, record.request_index, record.status]])
    return folder, collector


def test_a_run_in_parts_reads_as_a_run_in_lines(tmp_path: Path) -> None:
    made = records()
    folder, collector = in_parts(tmp_path / "parts", made, 5)
    collector.close()
    assert names(folder) == ["part-00001.parquet", "part-00002.parquet", "part-00003.parquet"]  # 5, 5 and the last 2
    assert collector.parts_as_lines == 0
    assert not (folder / "records.jsonl").exists()
    lines, parts = load_run(write_run(tmp_path / "lines", made, TRUTH)), load_run(folder)
    assert parts.problems == lines.problems == ()
    assert parts.records.equals(lines.records)
    to_lines(folder)
    assert names(folder) == ["records.jsonl"]
    assert [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()] == [
        dataclasses.asdict(record) for record in made
    ]


def test_whatever_was_killed_each_record_is_read_once(tmp_path: Path) -> None:
    """Killed: the writer after a part had its name and before the lines were gone; in the middle of the next; the master in a line."""
    made = records()
    folder = write_run(tmp_path / "run", made, TRUTH)
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    parts = folder / "records.d"
    parts.mkdir()
    (parts / "part-00001.jsonl").write_bytes(b"".join(lines[:4]))
    assert write_part(parts / "part-00001.jsonl")
    (parts / "part-00001.jsonl").write_bytes(b"".join(lines[:4]))
    (parts / "part-00002.jsonl").write_bytes(b"".join(lines[4:8]))
    (parts / "part-00002.partial").write_bytes((parts / "part-00001.parquet").read_bytes()[:100])
    (folder / "records.jsonl").write_bytes(b"".join(lines[8:]) + lines[0][:50])
    assert names(folder) == ["part-00001.parquet", "part-00002.jsonl", "records.jsonl"]
    run = load_run(folder)
    assert [problem.code for problem in run.problems] == ["torn_line"]
    assert run.records["request_index"].tolist() == [record.request_index for record in made]


def test_a_part_that_is_no_table_stays_as_lines(tmp_path: Path) -> None:
    """A server's count beyond 64 bits is written as it came."""
    made = [
        dataclasses.replace(record, prompt_tokens=10**30) if i == 0 else record for i, record in enumerate(make_records(TRUTH))
    ]
    folder, collector = in_parts(tmp_path / "run", made, 6)
    collector.close()
    assert names(folder) == ["part-00001.jsonl", "part-00002.parquet"]
    assert collector.parts_as_lines == 1
    assert len(load_run(folder).records) == 12


def test_a_part_that_was_damaged_later_is_named(tmp_path: Path) -> None:
    folder, collector = in_parts(tmp_path / "run", make_records(TRUTH), 6)
    collector.close()
    (folder / "records.d" / "part-00002.parquet").write_bytes(b"PAR1")
    run = load_run(folder)
    (problem,) = [problem for problem in run.problems if problem.code == "bad_part"]
    assert "records.d/part-00002.parquet" in problem.text
    assert len(run.records) == 6
    assert not run.complete


def test_the_spools_of_workers_complete_a_run_in_parts(tmp_path: Path) -> None:
    made = make_records(TRUTH)
    folder, collector = in_parts(tmp_path / "run", made[:-2], 5)
    collector.close()
    spool = tmp_path / "spool.jsonl"
    spool.write_text("".join(record.to_json() + "\n" for record in made[-4:]))
    assert merge(folder, [spool]) == 2
    assert names(folder) == ["records.jsonl"]
    assert load_run(folder).records["request_index"].tolist() == [record.request_index for record in made]


@pytest.mark.parametrize(("records", "due"), [(0, False), (4, False), (5, True)])
def test_a_part_is_closed_by_its_records(tmp_path: Path, records: int, due: bool) -> None:
    parts = RecordParts(tmp_path, most_records=5)
    assert parts.is_due(records) is due
    parts.close()


def test_a_part_is_closed_by_its_age_where_it_holds_anything(tmp_path: Path) -> None:
    parts = RecordParts(tmp_path, most_s=0.0)
    assert not parts.is_due(0)
    assert parts.is_due(1)
    parts.close()
