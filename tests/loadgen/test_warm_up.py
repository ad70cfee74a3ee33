"""The warm-up and the control as a run sends them: what the server got, what the run's files hold, and how they end."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LocustProcesses, RunFiles, Stub, start_stub, wait_for
from tests.emulated import emulator
from tests.loadgen.server.test_arms import Start
from tests.loadgen.server.test_arms import emulator as arms_emulator
from tests.loadgen.test_trace_replay import CUT, REPLAY
from tests.warm.jobs import UNSTUDIED

__all__ = ["arms_emulator"]
LOAD = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "4", "-r", "10", "--requests", "12", "--rounds", "2",
        "--output-tokens", "6")  # fmt: skip


@pytest.fixture
def second_stub(tmp_path: Path) -> Iterator[Stub]:
    """About a second for a request."""
    server = start_stub(tmp_path, "0.3", "0.12")
    yield server
    server.process.kill()
    server.process.wait()


def measured(run: RunFiles, stub: Stub) -> Counter[str]:
    """Requests of the run by the nonce of their prompts: `run`, `control`, and what is neither."""
    nonces = {run.facts["nonce"]: "run"} | {entry["nonce"]: "control" for entry in run.facts["rounds"] if "nonce" in entry}
    firsts = (body["messages"][0]["content"].split()[0] for body in stub.bodies() if "messages" in body)
    return Counter(nonces.get(first, "other") for first in firsts)


@pytest.mark.analysed
def test_a_warm_up_and_a_control_on_two_workers(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(
        *LOAD, "--host", stub.url, "--processes", "2", "--warm-up", "auto", "--control", "--locust-tables", timeout_s=120
    )
    assert code == 0, output
    (run,) = locust.runs()
    facts = run.facts
    assert facts["complete"]
    assert [(entry["round"], entry["kind"]) for entry in facts["rounds"]] == [(1, "cold"), (2, "control"), (3, "hit")]
    assert facts["round_kinds"] == {"cold_start": ["cold", "control", "hit"]}

    (warm_up,) = facts["warm_up"]
    assert warm_up["ended"] in ("steady", "request limit")
    assert warm_up["requests"] >= 48
    assert warm_up["failed"] == 0
    kinds = [window["kind"] for window in warm_up["windows"]]
    assert kinds == ["fresh", "again"] * (len(kinds) // 2)

    records = run.records
    assert len(records) == 36, "a warm-up leaves no record"
    assert Counter((r["round"], r["round_kind"]) for r in records) == {(1, "cold"): 12, (2, "control"): 12, (3, "hit"): 12}
    by_round = {number: {r["request_index"]: r for r in records if r["round"] == number} for number in (1, 2, 3)}
    for index, cold in by_round[1].items():
        control = by_round[2][index]
        assert control["planned_prompt_tokens"] == cold["planned_prompt_tokens"]
        assert control["planned_cached_tokens"] == cold["planned_cached_tokens"] == 0
        assert control["reported_cached_tokens"] == cold["reported_cached_tokens"] == 0, "neither met a prompt of the warm-up"
    assert all(r["reported_cached_tokens"] == r["planned_cached_tokens"] > 0 for r in by_round[3].values())

    sent = measured(run, stub)
    assert (sent["run"], sent["control"]) == (24, 12)
    control = facts["rounds"][1]["nonce"]
    assert set(stub.times_sent(control).values()) == {1}
    assert set(stub.times_sent(facts["nonce"]).values()) == {2}
    assert "round 2 (control) starts" in output
    assert "warm-up done" in output
    rows = [line.split()[1:3] for line in output.splitlines() if line.startswith("POST")]
    named = {row[1] for row in rows if row[0] == "cold_start"}  # of the last rounds where the workers' last report came in time
    assert {"r01"} <= named <= {"r01", "r02", "r03"}, "Locust's statistics hold no warm-up"


def test_a_number_of_requests_in_an_open_loop(locust: LocustProcesses, stub: Stub) -> None:
    arrivals = ("--arrival", "constant", "--request-rate", "40")
    code, output = locust.run(*LOAD, "--host", stub.url, *arrivals, "--warm-up", "10")
    assert code == 0, output
    (run,) = locust.runs()
    (warm_up,) = run.facts["warm_up"]
    assert (warm_up["ended"], warm_up["requests"], warm_up["wanted"], warm_up["rule"]) == ("asked for", 16, 10, None)
    assert len(run.records) == 24


def test_a_trace_is_warmed_up_by_few_of_its_rows(locust: LocustProcesses, arms_emulator: Start) -> None:
    host = arms_emulator()
    short = ("--trace", CUT, "--trace-window", "0:10", "--trace-speed", "10", "--trace-block-tokens", "32", "--rounds", "2")
    code, output = locust.run(*REPLAY, "--host", host, *short, "--warm-up", "8")
    assert code == 0, output
    (run,) = locust.runs()
    (warm_up,) = run.facts["warm_up"]
    assert (warm_up["ended"], warm_up["requests"]) == ("asked for", 8)
    assert len(run.records) == 2 * run.facts["rounds"][0]["planned_requests"]


def test_ctrl_c_in_the_warm_up(locust: LocustProcesses, second_stub: Stub) -> None:
    process = locust.start(*LOAD, "--host", second_stub.url, "--warm-up", "200")
    wait_for(lambda: locust.runs() and locust.runs()[0].facts["warm_up"], what="the first window")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    (run,) = locust.runs()
    assert run.facts["incomplete_reason"] == "stopped in the warm-up of cold_start"
    assert run.facts["rounds"] == []
    assert run.records == []
    assert run.facts["warm_up"][0]["ended"] is None
    again = (*LOAD, "--host", second_stub.url, "--resume", str(run.folder), "--warm-up", "4", "--rounds", "2")
    code, output = locust.run(*again, timeout_s=120)
    assert code == 0, output
    assert [entry["ended"] for entry in run.facts["warm_up"]] == ["asked for"]


def test_a_study_warms_up_once_and_a_sweep_at_each_level(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(
        *LOAD, "--host", stub.url, "--warm-up", "4", "--concurrency", "1", "2", timeout_s=120, **{UNSTUDIED: "1"}
    )
    assert code == 0, output
    assert [run.facts["warm_up"][0]["requests"] for run in locust.runs()] == [8, 8]


def test_working_sets_are_warmed_up_once(locust: LocustProcesses, stub: Stub) -> None:
    sizes = ("--working-set", "10000", "20000")
    code, output = locust.run(
        *LOAD[:7], *LOAD[-2:], "--host", stub.url, "--warm-up", "4", *sizes, timeout_s=120, **{UNSTUDIED: "1"}
    )
    assert code == 0, output
    first, second = (run.facts["warm_up"][0] for run in locust.runs())
    assert first["ended"] == "asked for"
    assert second["ended"].startswith("not repeated: ")
    assert second["requests"] == 0


def test_a_control_that_would_put_out_the_prompts_to_be_hit_comes_last(locust: LocustProcesses, tmp_path: Path) -> None:
    """12 prompts of some 4,060 tokens: the GPU holds them once (60,000 tokens), and not twice."""
    with emulator(tmp_path, {"gpu_capacity_tokens": 60_000}, "--time-scale", "0.1") as url:
        code, output = locust.run(*LOAD, "--host", url, "--control", timeout_s=120)
    assert code == 0, output
    (run,) = locust.runs()
    assert run.facts["round_kinds"] == {"cold_start": ["cold", "hit", "control"]}
    assert run.facts["control_last"]
    assert "the control runs last" in output
    hits = [r for r in run.records if r["round_kind"] == "hit"]
    assert all(r["reported_cached_tokens"] == r["planned_cached_tokens"] for r in hits)


def test_repeats_are_complete_runs_of_their_own(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*LOAD, "--host", stub.url, "--repeat", "2", "--run-name", "twice", timeout_s=120)
    assert code == 0, output
    runs = locust.runs()
    assert [run.folder.name for run in runs] == ["twice-1", "twice-2"]
    assert len({run.facts["nonce"] for run in runs}) == 2
    assert all(run.facts["complete"] and len(run.records) == 24 for run in runs)
    assert "/repeats/report.html" in output, "the repeats' summary"


def test_a_dry_run_names_both(locust: LocustProcesses) -> None:
    code, output = locust.run(*LOAD, "--dry-run", "--warm-up", "auto", "--control", "--expect", "cold_ttft_ms=100", "tpot_ms=1")
    assert code == 0, output
    assert "cold_start  2 control" in output
    assert "Warm-up: before each scenario's first round windows of 8 requests until their TTFT is steady, at least 32" in output


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--warm-up", "some"), "--warm-up is 'some'; expected auto, off, or a number of requests"),
        (("--warm-up", "0"), "--warm-up is '0'; expected auto, off, or a number of requests"),
        (("--control", "off", "--arms", "cold", "control"), "--arms names control, and --control is off"),
        (("--repeat", "2", "--nonce", "7"), "--repeat makes 2 complete runs of one load; leave --nonce out"),
        (("--working-set", "1000", "--control", "on"), "--working-set decides its runs and rounds itself; leave --control out"),
    ],
)
def test_what_is_refused(locust: LocustProcesses, given: tuple[str, ...], says: str) -> None:
    code, output = locust.run("-f", "locustfiles/cold_start.py", "--headless", "--host", "http://127.0.0.1:9", *given)
    assert code == 3
    assert says in output


def test_ctrl_c_in_the_warm_up_of_a_series_leaves_its_name_free(locust: LocustProcesses, second_stub: Stub) -> None:
    series = (*LOAD, "--host", second_stub.url, "--concurrency", "1", "2", "--run-name", "mine")
    process = locust.start(*series, "--warm-up", "200")
    wait_for(lambda: locust.runs() and locust.runs()[0].facts["warm_up"], what="the first window")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    (stopped,) = locust.runs()
    assert stopped.facts["incomplete_reason"] == "stopped in the warm-up of cold_start"
    code, output = locust.run(*series, "--warm-up", "off", timeout_s=240)
    assert code == 0, output
    assert f"{stopped.folder.name} had a run that measured nothing (stopped in the warm-up of cold_start)" in output
    assert [run.facts["complete"] for run in locust.runs()] == [True, True]
