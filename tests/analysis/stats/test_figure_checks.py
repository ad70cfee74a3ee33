"""A round's own rate beside that of busy users, by hand."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.stats.figure_checks import ramp_and_tail


def rounds(rate: float, busy: float | None) -> pd.DataFrame:
    return pd.DataFrame([{"scenario": "s", "round": 2, "requests_per_s": rate, "busy_requests_per_s": busy,
                          "busy_requests_per_s_low": 6.5, "busy_requests_per_s_high": 7.2}])  # fmt: skip


def test_rates_more_than_a_tenth_apart_are_a_warning() -> None:
    """One straggler of 30 s in 100 requests: 6.85 requests/s became 2.33."""
    (problem,) = ramp_and_tail(rounds(2.33, 6.85))
    assert (problem.severity, problem.code) == ("warning", "ramp_and_tail")
    assert "2.33 requests/s over the whole round, 6.85 [6.5, 7.2] while all users were busy" in problem.text
    assert ramp_and_tail(rounds(6.3, 6.85)) == []
    assert ramp_and_tail(rounds(6.3, None)) == []
