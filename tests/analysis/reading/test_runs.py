"""Reading a run's folder: whole, torn, mixed, miscounted; what is not a run at all."""

from __future__ import annotations

import dataclasses
import json
import lzma
from pathlib import Path

import pytest

from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.contract.errors import BadInput
from tests.analysis.synthetic import Truth, make_records, synthetic_run, write_run

TRUTH = Truth(sessions=2, turns=3)


def codes(folder: Path) -> list[str]:
    return [problem.code for problem in load_run(folder).problems]


def append(folder: Path, text: str) -> None:
    with (folder / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_whole_run(tmp_path: Path) -> None:
    run = load_run(synthetic_run(tmp_path, TRUTH))
    assert run.complete
    assert run.problems == ()
    assert len(run.records) == 12
    assert run.counts[["round", "planned_requests", "found"]].to_numpy().tolist() == [[1, 6, 6], [2, 6, 6]]
    assert run.records["ok"].all()
    assert run.records["round"].dtype == "int64"


def test_both_readers_agree(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    fast = load_run(folder).records
    append(folder, '{"torn')
    slow = load_run(folder)
    assert [problem.code for problem in slow.problems] == ["torn_line"]
    columns = [name for name in fast if name not in ("scenario", "run_id", "worker", "status", "clock", "finish_reason", "error")]
    assert fast[columns].equals(slow.records[columns])
    assert fast["scenario"].astype(str).equals(slow.records["scenario"].astype(str))


def test_a_line_ends_at_a_newline_alone_for_both_readers(tmp_path: Path) -> None:
    """A server's error text may hold what str.splitlines takes for a line's end, here as the characters themselves."""
    records = [dataclasses.replace(record, status="http_error", error="a\u2028b\x85c") for record in make_records(TRUTH)]
    folder = write_run(tmp_path, records, TRUTH)
    path = folder / "records.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("\\u2028", "\u2028").replace("\\u0085", "\x85"), encoding="utf-8")
    assert len(load_run(folder).records) == 12
    append(folder, "{torn")  # the slower reader, line by line
    assert len(load_run(folder).records) == 12
    assert set(load_run(folder).records["error"]) == {"a\u2028b\x85c"}


def test_a_torn_record_is_missing_and_said_so(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    text = (folder / "records.jsonl").read_text()
    (folder / "records.jsonl").write_text(text[:-40])
    assert codes(folder) == ["torn_line", "count"]
    assert not load_run(folder).complete


def test_foreign_lines_formats_and_unnamed_records_are_left_out(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    newer = {**json.loads(make_records(TRUTH)[0].to_json()), "format": 2}
    append(folder, "hello\n[1]\n" + json.dumps(newer) + "\n" + json.dumps({"format": 1, "status": "ok"}) + "\n\n")
    assert codes(folder) == ["bad_lines", "record_format", "record_keys"]
    assert len(load_run(folder).records) == 12


def test_unknown_fields_and_wrong_types_are_no_reason_to_lose_a_record(tmp_path: Path) -> None:
    records = make_records(TRUTH)
    folder = write_run(tmp_path, records, TRUTH)
    values = [json.loads(record.to_json()) for record in records]
    values[0] |= {"new_field": 1, "ttft_ms": "fast", "error": {"code": 1}}
    values[1] |= {"ttft_ms": -5.0}
    (folder / "records.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    run = load_run(folder)
    assert run.problems == ()
    assert run.records["ttft_ms"].isna().tolist() == [True, True] + [False] * 10


def test_a_request_with_two_records_is_an_error(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    append(folder, make_records(TRUTH)[3].to_json() + "\n")
    assert codes(folder) == ["duplicates"]
    assert len(load_run(folder).records) == 12


def test_records_of_another_run(tmp_path: Path) -> None:
    records = [dataclasses.replace(record, run_id="other") for record in make_records(TRUTH)]
    assert codes(write_run(tmp_path, records, TRUTH)) == ["foreign_records"]


def test_the_count_is_checked(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(lines[:-1]))
    [problem] = load_run(folder).problems
    assert problem.code == "count"
    assert "Round 2 of long_context_high_reuse: 5 of 6 planned requests have a record." in problem.text


def test_missing_rounds_and_missing_records(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH, rounds_planned=3)
    assert codes(folder) == ["missing_round"]
    (folder / "records.jsonl").unlink()
    assert codes(folder) == ["no_records_file", "no_records", "count", "count", "missing_round"]
    (folder / "records.jsonl").touch()
    assert "no_records" in codes(folder)


def test_what_the_run_says_of_itself_comes_first(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH, complete=False, incomplete_reason="stopped by the user in round 2")
    [problem] = load_run(folder).problems
    assert "stopped by the user in round 2" in problem.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no run.json"]),
        ("{", ["run.json", "not valid JSON"]),
        ("[]", ["run.json", "list"]),
        ('{"format": 7}', ["'format'", "7", "reads 1"]),
        ('{"format": 1, "rounds": 3}', ["'rounds'", "3", "list of objects"]),
        ('{"format": 1, "deployment": "pd"}', ["'deployment'", "'pd'", "an object"]),
    ],
)
def test_bad_input_names_file_key_value_and_way_out(tmp_path: Path, content: str | None, words: list[str]) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BadInput) as caught:
        load_run(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert all(word in message for word in words)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        load_run(tmp_path / "nowhere")


def test_compressed_server_metrics_are_read_as_they_are(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    lines = [{"role": "server", "url": "http://x/metrics", "ok": True}, {"role": "server", "url": "http://x/metrics", "ok": True}]
    (folder / "server_metrics.jsonl").unlink(missing_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "server_metrics.jsonl.xz").write_bytes(lzma.compress(text))
    assert load_run(folder).server_metrics == lines
    (folder / "server_metrics.jsonl.xz").write_bytes(b"no xz")
    run = load_run(folder)
    assert run.server_metrics == []
    assert "server_metrics_torn" in [problem.code for problem in run.problems]


def test_a_ttft_whose_first_stamp_is_uncertain_is_left_out_where_that_matters(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines[0] |= {"ttft_ms": 200.0, "ttft_uncertain_ms": 40.0}
    lines[1] |= {"ttft_ms": 200.0, "ttft_uncertain_ms": 9.0}  # below 5 %
    lines[2] |= {"ttft_ms": 5.0, "ttft_uncertain_ms": 0.9}  # below 1 ms
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = load_run(folder)
    assert run.records["ttft_ms"].isna().tolist() == [True] + [False] * (len(lines) - 1)
    assert run.records["e2e_ms"].notna().all()
    (problem,) = (problem for problem in run.problems if problem.code == "uncertain_ttft")
    assert problem.text.startswith(f"1 of {len(lines)} TTFTs are left out")
    assert "40.0 ms" in problem.text


@pytest.mark.parametrize(
    ("complete", "resumable"),
    [((True, False), True), ((False, False), False), ((True, True), False)],
    ids=["round 2 was cut", "round 1 was cut", "requests were lost in complete rounds"],
)
def test_an_incomplete_run_can_be_resumed_after_a_complete_round_alone(
    tmp_path: Path, complete: tuple[bool, bool], resumable: bool
) -> None:
    folder = synthetic_run(tmp_path, TRUTH, complete=False, incomplete_reason="stopped in round 2 of a")
    facts = json.loads((folder / "run.json").read_text())
    facts["rounds"] = [{**entry, "complete": whole} for entry, whole in zip(facts["rounds"][:2], complete, strict=True)]
    facts["rounds_planned"] = {facts["rounds"][0]["scenario"]: 2}
    (folder / "run.json").write_text(json.dumps(facts))
    (problem,) = [problem for problem in load_run(folder).problems if problem.code == "incomplete"]
    assert ("--resume" in problem.what_to_do) == resumable
