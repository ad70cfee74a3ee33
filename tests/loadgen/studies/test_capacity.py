"""--capacity on an emulator: each cold step is a run with prompts of its own, hit steps are rounds of one run, and the page says both."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.loadgen.protocol.arrivals import Arrival, due_times_s
from tests.conftest import TIMED, LocustProcesses, RunFiles, Stub
from tests.emulated import STORE, emulator

pytestmark = pytest.mark.xdist_group(TIMED)

EVEN = """\
name: even
summary: Prompts of one length, none alike.
requests: 60
prefix: {text: document, tokens: 480}
turns: {text: question, tokens: 32}
output: {tokens: 2}
order: grouped
"""
SERVER = {"prefix_caching": False, "store": STORE, "timing": {"prefill_s_per_token": 5e-5}}
SEARCH = (
    "--requests",
    "60",
    "--arrival",
    "constant",
    "--slo",
    "ttft_ms=600",
    "--capacity-tolerance",
    "0.1",
    "--capacity-repeats",
    "1",
)


def test_cold_and_hit_are_searched_by_rates_that_were_really_offered(locust: LocustProcesses, tmp_path: Path) -> None:
    scenario = tmp_path / "even.yaml"
    scenario.write_text(EVEN)
    with emulator(tmp_path, SERVER) as url:
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "60", "-r", "60", "--host", url, "--scenarios", str(scenario),
            "--run-name", "search", "--processes", "2", "--capacity", "cold", "hit", *SEARCH, timeout_s=400,
        )  # fmt: skip
    assert code == 0, output
    runs = locust.runs()
    cold = [run for run in runs if run.folder.name.startswith("search_even_cold")]
    (hit,) = [run for run in runs if run.folder.name == "search_even_hit"]
    assert len({run.facts["nonce"] for run in runs}) == len(runs)
    assert len(cold) >= 3
    assert all(len(run.facts["rounds"]) == 1 and run.facts["complete"] for run in cold)
    assert all(record["reported_cached_tokens"] == 0 for run in cold for record in run.records)
    steps = [entry for run in cold for entry in run.facts["rounds"] if "capacity" in entry]
    assert offered(cold[-1]) == pytest.approx(steps[-1]["capacity"]["request_rate_per_s"], rel=0.02)
    rounds = hit.facts["rounds"]
    assert [("capacity" in entry) for entry in rounds] == [False, False, *[True] * (len(rounds) - 2)]
    assert hit.facts["rounds_planned"] == {"even": len(rounds)}
    assert all(record["reported_cached_tokens"] >= 480 for record in hit.records if record["round"] > 1)
    page = (locust.output_dir / "search_even_capacity" / "report.md").read_text()
    assert "even: the cache raises capacity: " in page
    assert (locust.output_dir / "search_even_capacity" / "charts" / "capacity-even.svg").stat().st_size > 10_000


def test_users_are_searched_in_a_closed_loop(locust: LocustProcesses, tmp_path: Path) -> None:
    """A prompt of 512 tokens takes 51 ms, and prompts take turns: 14 users cannot all be served in 500 ms; a busy machine has fewer."""
    scenario = tmp_path / "even.yaml"
    scenario.write_text(EVEN)
    server = {"prefix_caching": False, "max_num_batched_tokens": 512}
    with emulator(tmp_path, server, "--time-scale", "0.5") as url:
        code, output = locust.run(
            "-f", "locustfiles/cold_start.py", "--headless", "-u", "6", "-r", "10", "--host", url, "--scenarios", str(scenario),
            "--run-name", "search", "--capacity", "cold", "--capacity-of", "users", "--requests", "30", "--slo", "ttft_ms=500",
            "--capacity-repeats", "1", timeout_s=400,
        )  # fmt: skip
    assert code == 0, output
    runs = locust.runs()
    steps = [entry["capacity"] for run in runs for entry in run.facts["rounds"]]
    assert [run.facts["users"] for run in runs] == [step["users"] for step in steps]
    assert steps[0]["users"] == 6
    assert all(step["kind"] == "closed" for step in steps)
    found = float(output.split("cold: capacity ")[-1].removeprefix("about ").split()[0])
    assert 1 <= found < 14
    assert "users at TTFT p90 under 0.500 s" in output


def offered(run: RunFiles) -> float:
    """Sessions per second between the first and the last intended start."""
    due_s = sorted(record["scheduled_at_s"] for record in run.records)
    return (len(due_s) - 1) / (due_s[-1] - due_s[0])


def test_each_step_draws_a_schedule_of_its_own() -> None:
    """The same draw at twice the rate comes in half of the time, all gaps alike."""
    first, again, other = (due_times_s(Arrival("poisson", 10.0, 1.0, draw=draw), 201, "key") for draw in (0, 0, 1))
    double = due_times_s(Arrival("poisson", 20.0, 1.0), 201, "key")
    assert first is not None
    assert other is not None
    assert first == again != other
    assert first[-1] != pytest.approx(other[-1], rel=1e-3)
    assert double == pytest.approx([at_s / 2 for at_s in first])


def test_a_search_that_makes_no_sense_is_refused(locust: LocustProcesses, stub: Stub) -> None:
    base = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--host", stub.url)
    for wrong, said in (
        (("--capacity", "cold"), "needs objectives"),
        (("--capacity", "warm", "--slo", "ttft_ms=5"), "allowed: cold, hit"),
        (("--capacity", "cold", "--slo", "ttft_ms=5", "--rounds", "2"), "leave --rounds out"),
        (("--capacity", "cold", "--slo", "ttft_ms=5", "--working-set", "auto"), "two studies"),
        (("--working-set", "1e5"), "whole numbers"),
        (("--slo", "ttft=5"), "--slo is"),
        (("--capacity", "cold", "--capacity-of", "users", "--slo", "ttft_ms=5", "--request-rate", "5"), "closed loop"),
    ):
        code, output = locust.run(*base, *wrong)
        assert code == 3, output
        assert said in output
    assert not stub.bodies()
