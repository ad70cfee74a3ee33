"""The page of a capacity search from runs whose truth is a queue: two deployments, cold and hit, and other limits without a new run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from locust_kvcache.analysis.across_runs.capacity_steps import RATE, Step, found_capacity
from locust_kvcache.analysis.report.capacity_page import capacity_page
from locust_kvcache.analysis.report.capacity_words import problems_of
from locust_kvcache.contract.capacity_rule import Measured, Sample, Search, judge, next_level
from locust_kvcache.contract.record import Record
from tests.contract.test_capacity_rule import queue

SLO = {"ttft_ms": 2000.0}
REQUESTS = 100


def write_search(base: Path, deployment: str, side: str, service_s: float, gpus: int, reported: bool = True) -> Path:
    """A search's rounds in one run: even arrivals at a server that takes `service_s`; times of a request are its wait and its service."""
    folder = base / f"{deployment}_{side}"
    folder.mkdir(parents=True)
    steps: list[Measured] = []
    rounds, lines = [], []
    while (rate := next_level(steps, Search(1.0))) is not None:
        samples, number = queue(rate, service_s, REQUESTS), len(steps) + 1
        for index, sample in enumerate(samples):
            ttft_ms = sample.times["ttft_ms"]
            record = Record(
                run_id=folder.name, deployment=deployment, model="m", scenario="even", round=number, request_index=index,
                session_id=index, turn=1, worker="w", started_at_s=1e9 + sample.due_s, scheduled_at_s=1e9 + sample.due_s,
                schedule_lag_ms=0.0, prompt_tokens=512, output_tokens=2, planned_cached_tokens=0,
                reported_cached_tokens=(496 if side == "hit" else 0) if reported else None,
                ttft_ms=ttft_ms, e2e_ms=ttft_ms, tpot_ms=1.0, clock="kernel",
            )  # fmt: skip
            lines.append(record.to_json())
        told = {"side": side, "kind": "constant", "request_rate_per_s": rate}
        rounds.append({"scenario": "even", "round": number, "planned_requests": REQUESTS, "records": REQUESTS, "wall_s": 1.0,
                       "complete": True, "capacity": told})  # fmt: skip
        steps.append(Measured(rate, judge(samples, SLO).sustained))
    info = {
        "format": 1, "run_id": folder.name, "complete": True, "incomplete_reason": None, "model": "m", "arrival": {"kind": "constant"},
        "deployment": {"name": deployment, "gpus": gpus, "slo": SLO}, "server": {"block_size_tokens": 16}, "targets": {},
        "scenarios": [{"name": "even"}], "rounds_planned": {"even": len(rounds)}, "rounds": rounds, "warnings": [],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("searches")
    truths = {("single", "cold"): 0.25, ("single", "hit"): 0.1, ("pd", "cold"): 0.5, ("pd", "hit"): 0.05}
    return {f"{name} {side}": write_search(base, name, side, service_s, 8) for (name, side), service_s in truths.items()}


Command = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_a_search_is_judged_again_as_it_was(command: Command, searches: dict[str, Path], tmp_path: Path) -> None:
    """4 and 10 per second: the values lie within 5 %, and 8 GPUs carry an eighth each."""
    done = command("analysis.capacity", searches["single cold"], searches["single hit"], "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split()).split("the cache raises capacity: ")[1]
    cold, hit = float(said.split()[0]), float(said.split("cold, ")[1].split()[0])
    assert cold == pytest.approx(4.0, rel=0.05)
    assert hit == pytest.approx(10.0, rel=0.05)
    table = (tmp_path / "report.md").read_text()
    row = next(line.split("|") for line in table.splitlines() if line.startswith("| cold |"))
    assert float(row[3]) == pytest.approx(cold / 8, rel=0.01)
    assert "sessions/s at TTFT p90 under 2.00 s" in said
    assert "the steps that enclose the capacity lasted 1.00 s" in (tmp_path / "report.md").read_text()
    assert "warning: even, cold" in done.stdout


@pytest.mark.slow
def test_single_and_pd_stand_on_one_page_and_are_not_mixed(command: Command, searches: dict[str, Path], tmp_path: Path) -> None:
    done = command("analysis.capacity", *searches.values(), "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    for name, true_per_s in (("single cold", 4), ("single hit", 10), ("pd cold", 2), ("pd hit", 20)):
        value = float(" ".join(done.stdout.split()).split(f"{name}: capacity ")[1].split()[0])
        assert value == pytest.approx(true_per_s, rel=0.05)


def test_other_limits_without_a_new_run(command: Command, searches: dict[str, Path], tmp_path: Path) -> None:
    """Under 200 ms no prompt of 250 ms is ever in time."""
    done = command("analysis.capacity", searches["single cold"], "--slo", "ttft_ms=200", "--output-dir", tmp_path)
    assert "cold: capacity below " in done.stdout


def test_a_run_that_is_no_search_is_refused(command: Command, searches: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    info = json.loads((searches["pd hit"] / "run.json").read_text())
    for entry in info["rounds"]:
        del entry["capacity"]
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "records.jsonl").write_text((searches["pd hit"] / "records.jsonl").read_text())
    done = command("analysis.capacity", folder)
    assert done.returncode == 3
    assert "no round of a --capacity search" in done.stderr


def test_a_step_whose_requests_were_sent_late_says_only_what_was_seen() -> None:
    """Not "all users were busy": 24 of 200 may have been in flight."""
    found = judge([Sample(float(i), True, 3000.0, {"ttft_ms": 100.0, "tpot_ms": None, "e2e_ms": 100.0}) for i in range(100)], SLO)
    assert found.short_of_users
    step = Step("s", "d", None, "cold", "poisson", 75.2, RATE, found, 100, None, 0.0, 60.0, 24.0)
    (problem,) = problems_of("s", "cold", [step], found_capacity([step], SLO, 0.9))
    assert problem.code == "short_of_users"
    assert "would have kept the limits as sent: requests were sent late (24.0 in flight on average" in problem.text
    assert "busy" not in problem.text


@pytest.mark.slow
def test_without_evidence_of_hits_the_cache_raises_nothing(tmp_path: Path) -> None:
    """The second search sustains more than twice as much; its answers report no cached tokens."""
    for reported, said in (
        (True, "the cache raises capacity"),
        (False, "nothing shows that the hit search hit; measured: cold "),
    ):
        base = tmp_path / str(reported)
        folders = [
            write_search(base, "single", side, service_s, 8, reported) for side, service_s in (("cold", 0.25), ("hit", 0.1))
        ]
        lead = capacity_page(folders, SLO, 0.9).lead
        assert lead.startswith(f"even: {said}"), lead
