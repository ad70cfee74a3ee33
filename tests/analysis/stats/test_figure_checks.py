"""What makes a round's figures unreliable, by hand."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.stats.figure_checks import outages, ramp_and_tail
from locust_kvcache.contract.outage_words import UNREACHABLE


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


def test_a_pause_of_a_round_stands_against_its_figures() -> None:
    (problem,) = outages(["metrics cannot be read", f"{UNREACHABLE}local for 5.6 s in round 1 of s, the round paused: refused"])
    assert (problem.severity, problem.code) == ("warning", "outage")
    assert problem.text == "The server could not be reached by worker local for 5.6 s in round 1 of s, the round paused: refused."
