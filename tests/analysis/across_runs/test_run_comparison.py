"""A comparison has one basis for all figures, and judges nothing across runs that are not comparable."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.analysis.across_runs.conditions import accepted_conditions
from locust_kvcache.analysis.across_runs.run_comparison import RunComparison, compare_runs, pooled_arms
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.report.comparison_page import comparison_page
from tests.analysis.synthetic import Truth, synthetic_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=5, turns=2)
SINGLE = {"name": "single", "kind": "non_disagg", "endpoint": "http://127.0.0.1:8000"}
PD = {"name": "pd", "kind": "pd_disagg", "endpoint": "http://127.0.0.1:8000"}


def compared(folder: Path, **info: object) -> RunComparison:
    """A single server's run of 3 rounds and a PD run of 2."""
    single = synthetic_run(folder / "single", TRUTH.but(run_id="s", rounds=3), deployment=SINGLE)
    targets = {"pd_tpot_increase_max": 0.2, "pd_hit_ttft_ratio_max": 2.5}
    pd_run = synthetic_run(folder / "pd", TRUTH.but(run_id="p"), deployment=PD, targets=targets, **info)
    return compare_runs([analyse_folder(single), analyse_folder(pd_run)], accepted_conditions("rounds"))


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> RunComparison:
    return compared(tmp_path_factory.mktemp("alike"))


def test_all_figures_are_of_the_rounds_that_both_runs_have(alike: RunComparison) -> None:
    found = alike
    assert [problem.text for problem in found.problems if problem.code == "rounds_cut"] == [
        "The runs have different numbers of rounds: rounds 1, 2, which all of them have, are compared."
    ]
    assert {row["round"] for run in found.runs for row in run.stats["rounds"]} == {1, 2}
    hit = found.effects[found.effects["window"].eq("hit")].set_index(["metric", "statistic"])
    for metric, statistic in (("ttft_ms", "mean"), ("tpot_ms", "mean"), ("requests_per_s", "rate")):
        assert hit.loc[(metric, statistic), "ratio"] == pytest.approx(1.0)
    assert hit.loc[("ttft_ms", "mean"), "pairs"] == 10, "each request once, not once for round 2 and once for round 3"


def test_runs_that_are_not_comparable_meet_no_target_across_runs(alike: RunComparison, tmp_path: Path) -> None:
    across = {row["target"]: row["verdict"] for row in alike.targets}
    assert across == {"pd_tpot_increase_max": "pass", "pd_hit_ttft_ratio_max": "pass"}
    found = compared(tmp_path / "other", users=10)
    assert not found.comparable
    assert {(row["verdict"], row["why"], row["value"]) for row in found.targets} == {("not judged", "not comparable", None)}


def test_arms_of_several_cache_states_are_said_to_be_pooled(tmp_path: Path) -> None:
    """A GPU hit of 126 ms and a store hit of 774 ms have a mean of 450 ms, which is neither."""

    def pair(**info: object) -> RunComparison:
        folder = tmp_path / str(len(info.get("arms", ())))  # type: ignore[arg-type]
        runs = [synthetic_run(folder / name, TRUTH.but(run_id=name, rounds=3), deployment=SINGLE, **info) for name in ("a", "b")]
        return compare_runs([analyse_folder(run) for run in runs])

    several = pair(arms=["cold", "gpu_hit", "store_hit"])
    assert pooled_arms(several.runs) == ("gpu_hit", "store_hit")
    assert [problem.severity for problem in several.problems if problem.code == "arms_pooled"] == ["warning"]
    assert "over all later arms together" in comparison_page(several).lead
    assert "arms_pooled" not in {problem.code for problem in pair().problems}
