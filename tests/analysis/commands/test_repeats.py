"""Repeated runs: intervals by hand, a known truth found again, runs that are no repetitions refused."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs import run_groups, run_spread
from locust_kvcache.analysis.pipeline import analyse_folder, open_stats
from locust_kvcache.analysis.reading.stats_file import write_stats
from tests.analysis.synthetic import Truth, synthetic_run
from tests.conftest import Module


def values(**runs: list[float]) -> pd.DataFrame:
    """A deployment's mean TTFTs, one per run, in round 1."""
    rows = [(name, "s", 1, "ttft_ms", f"{name}{i}", value) for name, given in runs.items() for i, value in enumerate(given)]
    return pd.DataFrame(rows, columns=[*run_spread.KEYS, "run", "value"])


def test_welchs_interval_by_hand() -> None:
    """ln 1.1 = 0.09531 between the two runs of each: variance ln(1.1)^2 / 2, error of the difference ln(1.1) / sqrt 2, 2 degrees of
    freedom, t = 4.30265: 2 x exp(-+0.28997)."""
    (row,) = run_spread.between(values(a=[100.0, 110.0], b=[200.0, 220.0]), "a").to_dict("records")
    half = 4.30265 * math.log(1.1) / math.sqrt(2)
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx(
        (2.0, 2 * math.exp(-half), 2 * math.exp(half)), rel=1e-5
    )
    assert row["p_value"] == pytest.approx(
        2 * (0.5 - 0.5 * 10.284 / math.sqrt(10.284**2 + 2)), rel=1e-3
    )  # t with 2 degrees, closed form
    assert (row["pairs"], row["verdict"]) == (2, "worse")


def test_the_spread_of_one_deployment_by_hand() -> None:
    """Geometric mean of 100 and 121 is 110; half width t(1 degree) = 12.7062 x ln(1.1)."""
    (row,) = run_spread.spread(values(a=[100.0, 121.0])).to_dict("records")
    assert row["mean"] == pytest.approx(110.0)
    assert row["low"] == pytest.approx(110 * math.exp(-12.7062 * math.log(1.1)), rel=1e-4)
    assert (row["smallest"], row["largest"], row["runs"]) == (100.0, 121.0, 2)


def test_one_run_gives_a_ratio_without_an_interval_or_a_verdict() -> None:
    (row,) = run_spread.between(values(a=[100.0, 110.0], b=[200.0]), "a").to_dict("records")
    assert row["ratio"] == pytest.approx(200 / math.sqrt(11_000))
    assert pd.isna(row["ratio_low"])
    assert row["verdict"] == "undecided"


def test_later_rounds_are_paired_with_round_1_of_the_same_run() -> None:
    """Runs differ by a factor of 3, hits cost half and 0.55 of each: the pairing takes the factor out."""
    cold, hit = values(a=[100.0, 300.0]), values(a=[50.0, 165.0]).assign(round=2)
    (row,) = run_spread.within(pd.concat([cold, hit], ignore_index=True)).to_dict("records")
    half = 12.7062 * math.log(1.1) / 2
    assert row["ratio"] == pytest.approx(math.sqrt(0.5 * 0.55))
    assert row["ratio_low"] == pytest.approx(row["ratio"] * math.exp(-half), rel=1e-4)


def folder(tmp_path: Path, deployment: str, number: int, **more: object) -> Path:
    priced = {"gpus": 1 + (deployment == "b"), "price_per_gpu_hour": 3600.0}
    info = {"deployment": {"name": deployment, "kind": "non_disagg", "endpoint": "http://x", **priced}}
    truth = Truth(run_id=f"{deployment}{number}", noise=0.03, seed=number, prefill_tokens_per_s=8000.0 if deployment == "a" else 4000.0,
                  info={**info, **more})  # fmt: skip
    return synthetic_run(tmp_path / f"{deployment}{number}", truth)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """stats.json of three runs of each: b computes half as fast (4,000 cold tokens take 1,040 ms against 540), and has twice the GPUs."""
    wanted = {"targets": {"hit_throughput_gain_min": 99.0}}
    folders = [folder(tmp_path_factory.mktemp("runs"), name, number, **wanted) for name in "ab" for number in (1, 2, 3)]
    for one in folders:
        write_stats(one / "stats.json", analyse_folder(one).stats)
    return [one / "stats.json" for one in folders]


@pytest.mark.slow
def test_a_known_difference_is_found_and_its_page_written(module: Module, runs: list[Path], tmp_path: Path) -> None:
    done = module("analysis.repeats", *runs, "--output-dir", tmp_path / "page")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.strip().startswith("b ") and "[" in line and "%" in line]
    missed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert ["wanted at least 9,900 %" in line or "≥ 9,900 %" in line for line in missed] == [True, True], done.stdout
    assert [name for name in "ab" if any(f" {name}, " in line for line in missed)] == ["a", "b"], missed
    assert (tmp_path / "page" / "report.html").is_file()
    page = (tmp_path / "page" / "report.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| b, round 1: TTFT") and "%" in line]
    assert "worse" in line
    assert "Shortest mean TTFT, cold: a (" in page


@pytest.mark.slow
def test_repeated_runs_keep_the_columns_that_are_compared(runs: list[Path]) -> None:
    """Two runs of one deployment are described, which takes all columns; a third one makes them repetitions."""
    assert [len(run.requests.columns) > 50 for run in run_groups.opened(runs[:2])] == [True, True]
    assert [list(run.requests) for run in run_groups.opened(runs[:3])] == [["ok", "prompt_tokens", "output_tokens"]] * 3


@pytest.mark.slow
def test_a_run_is_one_observation_of_a_cost(runs: list[Path]) -> None:
    """At 1 per GPU-second a request costs GPUs x wall / requests: the geometric mean of three runs, within their interval. The change from
    cold to hit is the throughput's, and no hypothesis of its own."""
    found = run_spread.run_values([open_stats(file) for file in runs])
    costs = [open_stats(file).stats["rounds"][0] for file in runs[3:]]
    mine = [2 * row["wall_s"] / row["succeeded"] for row in costs]
    table = run_spread.spread(found)
    row = table[table["deployment"].eq("b") & table["metric"].eq("cost_per_request") & table["round"].eq(1)].iloc[0]
    assert row["mean"] == pytest.approx(math.exp(sum(map(math.log, mine)) / 3))
    assert row["low"] < row["mean"] < row["high"]
    assert not set(run_spread.COSTS) & set(run_spread.within(found)["metric"])
    assert not set(run_spread.COSTS) & set(run_spread.between(found, "a")["metric"])


@pytest.mark.slow
def test_runs_that_are_no_repetitions_are_refused(
    command: Callable[..., subprocess.CompletedProcess[str]], runs: list[Path], tmp_path: Path
) -> None:

    def repeats(*runs: Path) -> subprocess.CompletedProcess[str]:
        return command("analysis.repeats", *runs)

    first, other = runs[0], folder(tmp_path, "a", 2, users=9)
    done = repeats(first, other)
    assert (done.returncode, "load: users differs between the runs: 1 / 9" in done.stderr) == (3, True)
    assert "is given more than once" in repeats(first, first).stderr
    assert "expected 2 or more" in repeats(first).stderr
    cut = folder(tmp_path, "a", 3, complete=False, incomplete_reason="interrupted")
    assert "run a3 is incomplete" in repeats(first, cut).stderr


@pytest.mark.slow
def test_compare_judges_repeated_runs_and_gates_on_them(module: Module, runs: list[Path], tmp_path: Path) -> None:
    """With three runs of each `compare` says worse; a gate takes two runs of each side or more."""
    done = module("analysis.compare_results", *runs, "--gate", "--output", tmp_path / "page.html")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "worse" in (tmp_path / "page.html").read_text()
    few = module("analysis.compare_results", *runs[:4], "--gate")
    assert (few.returncode, "fewer than 2 runs of b" in few.stderr) == (3, True)
