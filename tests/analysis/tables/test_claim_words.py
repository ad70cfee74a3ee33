"""What a headline says where an interval and its verdict look at different things."""

from __future__ import annotations

from typing import Any

import pytest

from locust_kvcache.analysis.tables.claim_words import answer, lost_by_adjustment

ROW: dict[str, Any] = {
    "scenario": "cold_start", "split": "round", "metric": "ttft_ms", "statistic": "mean", "baseline": 12054.0, "contender": 3477.0,
    "ratio": 0.288, "ratio_low": 0.114, "ratio_high": 0.729, "p_adjusted": 0.142, "verdict": "undecided", "no_interval": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, True),
        ({"verdict": "better", "p_adjusted": 0.01}, False),
        ({"ratio_high": 1.2}, False),  # the interval itself reaches across no change
        ({"ratio_low": None, "ratio_high": None}, False),
        ({"p_adjusted": None}, False),
        ({"verdict": "not valid"}, False),
    ],
)
def test_only_the_adjustment_took_the_verdict(changes: dict[str, Any], lost: bool) -> None:
    assert lost_by_adjustment({**ROW, **changes}) is lost


def test_the_headline_says_why_a_clear_interval_has_no_verdict() -> None:
    text = answer({"effects": [ROW], "rounds": []}, "cold_start")
    assert "changed the mean TTFT of this run by" in text
    assert "Undecided: adjusted for 1 comparison, p is 0.14." in text
    assert "cuts the mean TTFT" in answer({"effects": [{**ROW, "verdict": "better"}], "rounds": []}, "cold_start")
    assert "Undecided: the interval includes no change." in answer(
        {"effects": [{**ROW, "ratio_high": 1.2}], "rounds": []}, "cold_start"
    )
