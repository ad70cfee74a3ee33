"""Targets of a run.json that a person or a damage changed."""

from __future__ import annotations

import pandas as pd
import pytest

from locust_kvcache.analysis.report.run_text import target_line
from locust_kvcache.analysis.stats.targets import NOT_JUDGED, judge_run

EFFECTS = pd.DataFrame([{"scenario": "s", "metric": "ttft_ms", "statistic": "mean", "split": "round", "ratio": 0.4,
                         "ratio_low": None, "ratio_high": None}])  # fmt: skip


@pytest.mark.parametrize("why_not", ["", "cold was not cold"])
def test_a_threshold_that_is_no_number_is_not_judged_and_named(why_not: str) -> None:
    (row,) = judge_run({"hit_ttft_reduction_min": "?"}, EFFECTS, ["s"], lambda scenario, number: why_not)
    assert (row["verdict"], row["threshold"]) == (NOT_JUDGED, None)
    assert "the threshold '?' is not a number" in target_line(row)
