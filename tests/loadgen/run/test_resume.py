"""--resume: an interrupted run is resumed after its last complete round, with the same prompts, or says why it cannot."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from locust_kvcache.analysis.reading.part_writer import write_part
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record import Record
from locust_kvcache.contract.record_files import part_path, record_files
from locust_kvcache.loadgen.run.resume import Resumed, load_resumed, recorded_keys
from tests.analysis.damage import ODD, places, replaced
from tests.conftest import LocustProcesses, RunFiles, Stub, start_stub, wait_for
from tests.loadgen.master.test_coordinator import assert_each_once_per_round

BASE = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "4", "-r", "100", "--requests", "8", "--rounds", "3",
        "--prompt-tokens", "400", "--output-tokens", "8")  # fmt: skip


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """About a second for a request."""
    server = start_stub(tmp_path, "0.2", "0.11")
    yield server
    server.process.kill()
    server.process.wait()


def test_a_run_that_is_still_under_way_is_left_alone(locust: LocustProcesses, stub: Stub) -> None:
    process = locust.start(*BASE, "--requests", "200", "--host", stub.url)
    wait_for(lambda: locust.runs() and locust.runs()[0].records, what="records")
    (run,) = locust.runs()
    code, output = locust.run(*BASE, "--requests", "200", "--host", stub.url, "--resume", str(run.folder))
    assert code == 3
    assert "another process is still running this test" in output
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=240)
    assert not list(run.folder.glob("*.cut-*"))


def cut(locust: LocustProcesses, stub: Stub, records: int, how: signal.Signals) -> RunFiles:
    process = locust.start(*BASE, "--host", stub.url)
    wait_for(lambda: locust.runs() and len(locust.runs()[0].records) >= records, what=f"{records} records")
    os.killpg(process.pid, how)
    process.communicate(timeout=240)
    return locust.runs()[0]


@pytest.mark.analysed
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_it_goes_on_after_the_last_complete_round(locust: LocustProcesses, stub: Stub, how: signal.Signals) -> None:
    run = cut(locust, stub, 10, how)  # in round 2
    sent = stub.times_sent(run.facts["nonce"])
    nonce = run.facts["nonce"]
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(run.folder))
    assert code == 0, output
    assert len(locust.runs()) == 1
    assert run.facts["nonce"] == nonce
    again = sum(stub.times_sent(nonce).values()) - sum(sent.values())
    assert again == 16  # rounds 2 and 3, each whole
    assert len(set(stub.times_sent(nonce))) == 8
    assert [(entry["round"], entry["complete"]) for entry in run.facts["rounds"]] == [(1, True), (2, True), (3, True)]
    assert len(run.records) == 24
    assert run.facts["complete"]
    aside = (run.folder / "records.cut-1.jsonl").read_text().splitlines()
    assert {json.loads(line)["round"] for line in aside} == {2}
    assert any("resumed at" in text for text in run.facts["warnings"])
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(run.folder))
    assert code == 3
    assert "all rounds of this run are complete" in output


def test_a_cut_cold_round_cannot_be_cold_again(locust: LocustProcesses, stub: Stub) -> None:
    run = cut(locust, stub, 2, signal.SIGKILL)
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(run.folder))
    assert code == 3
    assert "round 1 of cold_start was cut: its prompts may be cached" in output


def test_a_run_in_parts_goes_on(locust: LocustProcesses, stub: Stub) -> None:
    """What was closed before the run was killed is a Parquet file."""
    run = cut(locust, stub, 10, signal.SIGKILL)
    part = part_path(run.folder, 1)
    part.parent.mkdir()
    (run.folder / "records.jsonl").rename(part)
    assert write_part(part)
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(run.folder), "--records-format", "parquet")
    assert code == 0, output
    assert [path.name for path in record_files(run.folder)] == ["part-00001.parquet"]
    assert load_run(run.folder).complete


def test_another_plan_is_refused_and_nothing_is_touched(locust: LocustProcesses, stub: Stub) -> None:
    run = cut(locust, stub, 10, signal.SIGINT)
    before = (run.folder / "records.jsonl").read_text(), (run.folder / "run.json").read_text()
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(run.folder), "--seed", "2")
    assert code == 3
    assert "seed is 2, the run had 1" in output
    assert ((run.folder / "records.jsonl").read_text(), (run.folder / "run.json").read_text()) == before


def test_what_differs_within_the_deployment_is_named_by_its_key(tmp_path: Path) -> None:
    """A target of the command line stands in run.json's deployment, of which nobody should read two copies."""
    had = {"deployment": {"name": "d", "slo": {}, "targets": {"hit_rate_min": 0.9}}}
    given = {"deployment": {"name": "d", "slo": {}, "targets": {}}}
    with pytest.raises(BadInput) as raised:
        Resumed(tmp_path, had, ()).check_same(given)
    assert str(raised.value) == (
        f"--resume {tmp_path}: deployment.targets.hit_rate_min is None, the run had 0.9. Give what the run had, or start a new run"
    )
    Resumed(tmp_path, had, ()).check_same(had)
    with pytest.raises(BadInput, match=r"scenarios\.1\.requests is 10, the run had 4\. Give"):
        Resumed(tmp_path, {"scenarios": [{"requests": 4}]}, ()).check_same({"scenarios": [{"requests": 10}]})


def test_no_run(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    code, output = locust.run(*BASE, "--host", stub.url, "--resume", str(tmp_path / "nothing"))
    assert code == 3
    assert "expected the folder of a run" in output


def test_each_once_without_resume(locust: LocustProcesses, stub: Stub) -> None:
    """The same command as above, uncut: what the tests compare with."""
    code, output = locust.run(*BASE, "--host", stub.url)
    assert code == 0, output
    assert_each_once_per_round(locust.runs()[0], stub, rounds=3)


def test_a_line_of_a_record_ends_at_a_newline_alone(tmp_path: Path) -> None:
    """A server's error text holds what str.splitlines takes for a line's end."""
    path = tmp_path / "records.jsonl"
    errors = ["plain", "a\u2028b", "a\x85b", "a\u2029b", "a\x0cb"]
    records = [
        Record("r", "d", "m", "cold_start", 1 + index // 3, index, 0, 1, "w", error=text) for index, text in enumerate(errors)
    ]
    path.write_text("".join(record.to_json() + "\n" for record in records), encoding="utf-8")
    assert [key[2] for key in recorded_keys(path)] == [0, 1, 2, 3, 4]
    resumed = Resumed(tmp_path, {}, ({"scenario": "cold_start", "round": 1},))
    assert resumed.set_aside() == 2  # of round 2, each whole
    kept = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["error"] for line in kept if line] == errors[:3]


def test_a_damaged_run_json_is_refused_in_one_line(tmp_path: Path) -> None:
    """Each value in turn is of another type, or missing; round 1 is complete and round 2 is to come."""
    entry = {"scenario": "s", "round": 1, "complete": True}
    calibration = {"tokens_per_piece": {}, "word_tokens": {}, "other_word_tokens": 1.0, "template_tokens": 2.0, "exchange_tokens": 0.0,
                   "source": "assumed"}  # fmt: skip
    facts = {"format": 1, "rounds": [entry], "rounds_planned": {"s": 2}, "nonce": "n", "calibration": calibration, "started_at": "",
             "warnings": []}  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(facts))
    assert load_resumed(tmp_path).done("s", 1)
    for at in places(facts):
        for new in (*ODD, ...):
            path.write_text(json.dumps(replaced(json.loads(json.dumps(facts)), at, new)))
            refused = None
            try:
                load_resumed(tmp_path)
            except BadInput as error:
                refused = error
            assert refused is None or "\n" not in str(refused)
    path.write_text("[1]")
    with pytest.raises(BadInput, match="format None; this version resumes 1"):
        load_resumed(tmp_path)
