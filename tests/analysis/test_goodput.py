"""Requests that meet all objectives, counted by hand."""

import pandas as pd
import pytest

from analysis.goodput import goodput_per_s, meets_slo
from analysis.records import COLUMNS
from scenarios.errors import BadInput

NONE = float("nan")
RECORDS = pd.DataFrame(
    {
        "ok": [True, True, True, True, False, True],
        "ttft_ms": [100.0, 200.0, 201.0, 100.0, 50.0, NONE],
        "tpot_ms": [10.0, NONE, 10.0, 21.0, 5.0, 10.0],
        "e2e_ms": [500.0, 300.0, 500.0, 500.0, 100.0, 500.0],
    }
)
SLO = {"ttft_ms": 200.0, "tpot_ms": 20.0, "e2e_ms": 500.0}


def test_a_request_must_meet_every_objective() -> None:
    assert meets_slo(RECORDS, SLO).tolist() == [True, True, False, False, False, False]


def test_goodput_is_what_met_them_per_second() -> None:
    assert goodput_per_s(RECORDS, SLO, observed_s=4.0) == 0.5  # 2 of 6 requests in 4 s


def test_without_objectives_only_failures_are_left_out() -> None:
    assert goodput_per_s(RECORDS, {}, observed_s=5.0) == 1.0


def test_objectives_are_columns_of_the_record() -> None:
    assert set(SLO) <= set(COLUMNS)


def test_bad_objectives_and_times_are_named() -> None:
    with pytest.raises(BadInput, match="ttft_s"):
        meets_slo(RECORDS, {"ttft_s": 2.0})
    with pytest.raises(BadInput, match="above 0"):
        goodput_per_s(RECORDS, SLO, observed_s=0.0)
