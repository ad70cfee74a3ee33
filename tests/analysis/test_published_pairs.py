"""The same deployment measured again: 18 pairs of published H200 runs. Nothing in a comparison of two of them may say better or worse."""

from __future__ import annotations

import functools
from itertools import combinations
from pathlib import Path

import pytest

from locust_kvcache.analysis.across_runs import run_spread
from locust_kvcache.analysis.across_runs.run_comparison import compare_runs
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.comparison_page import headline
from tests.analysis.told import comparison_of

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "h200-two-gpus-vllm-0.26"
DEPLOYMENTS = ("dp2_load", "pair_pd_load", "pair_pd_store_load", "pair_single_load", "pair_single_store_load", "tp2_load")


@functools.cache
def runs(deployment: str) -> list[Analysis]:
    return [analyse_folder(RESULTS / f"{deployment}_{number}_c8") for number in (1, 2, 3)]


@pytest.mark.parametrize("deployments", [DEPLOYMENTS[:1], DEPLOYMENTS[1:]], ids=["one", "others"])
def test_two_runs_of_one_deployment_are_described_and_not_judged(deployments: tuple[str, ...]) -> None:
    pairs = [pair for name in deployments for pair in combinations(runs(name), 2)]
    assert len(pairs) == 3 * len(deployments)
    for first, second in pairs:
        found = compare_runs([first, second])
        assert found.comparable
        assert found.effects["ratio"].notna().any()
        assert found.effects[["ratio_low", "ratio_high", "p_value", "difference_low"]].isna().all().all()
        said = comparison_of(found).split(": against ")[-1].split("_by round")[0] + headline(found)
        assert not [word for word in ("better", "worse", "undecided", "[") if word in said], said


def test_split_into_deployments_at_random_repeated_runs_of_one_are_not_told_apart() -> None:
    """Each run against the two others of its deployment, as if it were another: 18 comparisons, at most 1 with a verdict."""
    wrong = 0
    for name in DEPLOYMENTS:
        values = run_spread.run_values(runs(name))
        for odd in values["run"].unique():
            named = values.assign(deployment=values["run"].eq(odd).map({True: "b", False: "a"}))
            wrong += run_spread.between(named, "a")["verdict"].isin(["better", "worse"]).any()
    assert wrong <= 1
