"""A trace against the emulator: each row once, prompts of exactly its tokens, shared exactly where its ids are, sent at its times."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, LocustProcesses, Stub
from tests.loadgen.server.test_arms import Start, emulator
from tests.ports import free_port

__all__ = ["emulator"]

CUT = "tests/fixtures/conversation_trace_120.jsonl"
REPLAY = ("-f", "locustfiles/trace_replay.py", "--headless", "-u", "40", "-r", "40")


@pytest.mark.analysed
def test_each_row_once_with_exactly_its_blocks(locust: LocustProcesses, emulator: Start) -> None:
    code, output = locust.run(
        *REPLAY, "--processes", "2", "--host", emulator(), "--trace", str(ROOT / CUT), "--trace-window", "0:30", "--trace-speed", "10",
        "--trace-block-tokens", "32",
    )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    records = run.records
    planned = run.facts["scenarios"][0]["requests"]
    assert Counter(record["request_index"] for record in records) == Counter(range(planned))
    assert all(record["prompt_tokens"] == record["planned_prompt_tokens"] for record in records)
    reported = sum(record["reported_cached_tokens"] for record in records)
    assert reported > 0
    # whole blocks of 16 that an earlier row has sent; two rows at the same moment may both compute
    assert reported == pytest.approx(sum(record["planned_cached_tokens"] for record in records), rel=0.1)
    assert len({record["output_tokens"] for record in records}) > 3
    assert run.facts["arrival"]["kind"] == "trace"
    starts = sorted(record["started_at_s"] for record in records)
    assert starts[-1] - starts[0] > 2.0  # 30 s of the trace at ten times its speed, not all at once


def test_recorded_sessions_keep_their_order_gaps_and_forks(locust: LocustProcesses, emulator: Start) -> None:
    """Two sessions of the example, one with two sub-agents; gaps a fifth of the recorded ones, and 1 s at most."""
    sessions = str(ROOT / "docs" / "examples" / "sessions.jsonl")
    code, output = locust.run(
        *REPLAY, "--host", emulator(), "--trace", sessions, "--trace-speed", "5", "--max-gap", "1", "--warm-up", "off"
    )
    assert code == 0, output
    (run,) = locust.runs()
    records = {(r["session_id"], r["turn"]): r for r in run.records}
    assert len(records) == 6 + 2
    assert [(r["prompt_tokens"], whole_blocks(r["reported_cached_tokens"])) for r in records.values()] == [
        (r["planned_prompt_tokens"], r["planned_cached_tokens"]) for r in records.values()
    ]
    waits = [records[0, turn]["planned_wait_ms"] for turn in range(2, 7)]
    assert waits == pytest.approx([600, 700, 300, 1000, 1000])
    ends = {key: r["started_at_s"] + r["e2e_ms"] / 1000 for key, r in records.items()}
    for turn, before in ((2, (1,)), (3, (1,)), (4, (2,)), (5, (1, 3, 4)), (6, (5,))):
        due_s = max(ends[0, one] for one in before) + waits[turn - 2] / 1000
        assert records[0, turn]["started_at_s"] >= due_s - 0.005


def whole_blocks(tokens: int) -> int:
    """A store serves all of a prompt but its last token, the plan counts whole blocks."""
    return tokens // 32 * 32


def test_a_worker_without_the_file_ends_the_run_with_that_reason(
    locust: LocustProcesses, stub: Stub, python: str, tmp_path: Path
) -> None:
    """The master stands where the path leads to the file, the worker elsewhere."""
    port = str(free_port())
    master = locust.start(
        *REPLAY, "--master", "--master-bind-port", port, "--expect-workers", "1", "--host", stub.url, "--trace", CUT
    )
    command = [
        python,
        "-m",
        "locust",
        "-f",
        str(ROOT / "locustfiles" / "trace_replay.py"),
        "--worker",
        "--master-port",
        port,
    ]
    worker = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    locust.processes.append(worker)  # type: ignore[arg-type]
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 2, output
    assert f"cannot prepare its requests: {CUT}: cannot be read" in output
    (run,) = locust.runs()
    assert not run.facts["complete"]
    rows = [body for body in stub.bodies() if isinstance(body.get("prompt"), list)]
    assert all(body["max_tokens"] <= 16 for body in rows)  # the preflight's request of the largest size, no row of the trace


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "trace_replay needs --trace FILE"),
        (("--trace", "nowhere.jsonl"), "nowhere.jsonl: cannot be read"),
        (("--trace", "CHANGELOG.md"), "CHANGELOG.md: line 1 is '# Changelog'; expected an object with timestamp"),
        (("--trace", CUT, "--trace-block-size", "16"), "line 1: key 'hash_ids' has 14 ids; expected"),
        (("--trace", CUT, "--trace-window", "5"), "--trace-window is '5'; expected START:STOP in seconds"),
        (("--trace", CUT, "--trace-sample", "2"), "--trace-sample is 2; expected a share from 0 to 1"),
    ],
)
def test_bad_input_is_refused_before_any_user(locust: LocustProcesses, options: tuple[str, ...], said: str) -> None:
    code, output = locust.run(*REPLAY, "--host", "http://127.0.0.1:9", *options)
    assert code not in (0, 1)
    assert said in output


def test_a_dry_run_says_that_the_traces_times_decide(locust: LocustProcesses) -> None:
    code, output = locust.run("-f", "locustfiles/trace_replay.py", "--headless", "-u", "5", "--dry-run", "--trace", CUT)
    assert code == 0, output
    assert "the trace's own times, 5 users at most in flight:" in output
    assert "120" in output
    code, output = locust.run("-f", "locustfiles", "--headless", "-u", "5", "--dry-run", "--requests", "5")
    assert code == 0, output  # all locustfiles together: the replay is left out without a trace
    assert "trace_replay" not in output


@pytest.mark.analysed
def test_a_table_without_prefixes_is_replayed_and_all_say_that_no_reuse_is_known(
    locust: LocustProcesses, emulator: Start, tmp_path: Path
) -> None:
    """The dry run, the log, run.json and the report; each prompt has exactly its tokens, and none finds anything cached."""
    table = tmp_path / "azure.csv"
    table.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,37,4\n2023-11-16 18:15:46.99,55,5\n")
    unknown = "no prefixes: every prompt is new, and what the recorded requests could have reused is unknown"
    code, output = locust.run(*REPLAY, "--dry-run", "--trace", str(table))
    assert code == 0, output
    assert unknown in output
    code, output = locust.run(*REPLAY, "--host", emulator(), "--trace", str(table), "--warm-up", "off")
    assert unknown in output  # the log
    (run,) = locust.runs()
    assert unknown in " ".join(row["text"] for row in json.loads((run.folder / "stats.json").read_text())["problems"])
    assert [(r["prompt_tokens"], r["output_tokens"], r["reported_cached_tokens"]) for r in run.records] == [
        (37, 4, 0),
        (55, 5, 0),
    ]
    assert run.facts["scenarios"][0]["trace"]["prefixes"] == "none"


def test_a_step_of_a_search_needs_samples_for_its_percentile(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(
        "-f", "locustfiles/cold_start.py", "--headless", "--host", stub.url, "--capacity", "cold", "--slo", "ttft_ms=100",
        "--requests", "12",
    )  # fmt: skip
    assert code == 3
    assert "--requests is 12; a step of --capacity needs at least 20 for its percentile" in output
