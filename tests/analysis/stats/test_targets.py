"""Targets of a run.json that a person or a damage changed."""

from __future__ import annotations

import pandas as pd
import pytest

from locust_kvcache.analysis.report.run_text import target_line
from locust_kvcache.analysis.stats.targets import NOT_JUDGED, judge_pair, judge_run

EFFECTS = pd.DataFrame([{"scenario": "s", "metric": "ttft_ms", "statistic": "mean", "split": "round", "ratio": 0.4,
                         "ratio_low": None, "ratio_high": None}])  # fmt: skip


@pytest.mark.parametrize("why_not", ["", "cold was not cold"])
def test_a_threshold_that_is_no_number_is_not_judged_and_named(why_not: str) -> None:
    (row,) = judge_run({"hit_ttft_reduction_min": "?"}, EFFECTS, ["s"], lambda scenario, number: why_not)
    assert (row["verdict"], row["threshold"]) == (NOT_JUDGED, None)
    assert "the threshold '?' is not a number" in target_line(row)


def test_a_pair_is_as_certain_as_its_least_certain_state() -> None:
    """Store hits 1.3 [1.25, 1.35] are the worst by their mean; host hits, 1.2 [0.5, 2.5], may be worse than 1.5."""

    def table(ratio: float, low: float, high: float) -> pd.DataFrame:
        columns = {"scenario": ["s"], "metric": ["ttft_ms"], "statistic": ["mean"]}
        return pd.DataFrame({**columns, "ratio": [ratio], "ratio_low": [low], "ratio_high": [high]})

    sure, unsure = table(1.3, 1.25, 1.35), table(1.2, 0.5, 2.5)
    name = "pd_hit_ttft_ratio_max"
    (row,) = judge_pair({name: 1.5}, {name: {"store hit": sure, "CPU hit": unsure}}, ["s"])
    assert (row["verdict"], row["value"], row["certain"], row["why"]) == ("pass", 1.3, False, "not statistically certain")
    (row,) = judge_pair({name: 1.25}, {name: {"store hit": sure, "CPU hit": unsure}}, ["s"])
    assert (row["verdict"], row["why"]) == ("fail", "not statistically certain")
    (row,) = judge_pair({name: 1.2}, {name: {"store hit": sure, "CPU hit": unsure}}, ["s"])
    assert (row["verdict"], row["certain"]) == ("fail", True)
