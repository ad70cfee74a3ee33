"""Requests that meet all objectives, counted by hand."""

import pandas as pd
import pytest

from locust_kvcache.analysis.reading.record_schema import COLUMNS
from locust_kvcache.analysis.stats.figure_checks import sent_late
from locust_kvcache.analysis.stats.goodput import goodput_table, meets_slo
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.slo import parse_slo

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


def test_in_an_open_loop_the_wait_for_a_free_user_counts() -> None:
    """Within 200 ms of the send, and up to three seconds after it was to be sent."""
    waited = RECORDS.assign(schedule_lag_ms=[0.0, 0.0, -1.0, NONE, 0.0, 0.0])
    assert meets_slo(waited, SLO).tolist() == [True, True, False, False, False, False]  # early, or a later turn: as it was
    late = RECORDS.assign(schedule_lag_ms=[2900.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    assert meets_slo(late, SLO).tolist() == [False] * 6  # 100 ms after the send are 3,000 after the intended time
    assert meets_slo(late, {"tpot_ms": 20.0}).tolist() == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]  # between tokens nobody waits for a user


def test_requests_that_were_sent_late_are_named() -> None:
    records = RECORDS.assign(scenario="s", round=1, schedule_lag_ms=[3000.0, 1000.0, 5.0, NONE, 0.0, 0.0])
    found = sent_late(records)
    assert [problem.code for problem in found] == ["sent_late"]
    assert "2 of 5 scheduled requests were sent late, by 2,000 ms on average and 3,000 ms at most" in found[0].text
    assert sent_late(records.assign(schedule_lag_ms=NONE)) == []


def test_the_table_counts_per_round_and_second() -> None:
    records = RECORDS.assign(scenario="s", round=[1, 1, 1, 2, 2, 2])
    rounds = pd.DataFrame({"scenario": ["s", "s"], "round": [1, 2], "wall_s": [4.0, NONE]})
    table = goodput_table(records, SLO, rounds)
    assert table["met"].tolist() == [2, 0]
    assert table["met_share"].tolist() == [pytest.approx(2 / 3), 0.0]
    assert table["goodput_per_s"].iloc[0] == 0.5  # 2 requests in 4 s
    assert pd.isna(table["goodput_per_s"].iloc[1])  # nobody knows how long round 2 took
    assert goodput_table(records, {}, rounds).empty


def test_limits_from_the_command_line() -> None:
    assert parse_slo(["ttft_ms=2000", "tpot_ms=50.5"]) == {"ttft_ms": 2000.0, "tpot_ms": 50.5}
    for wrong in ("ttft=1", "ttft_ms=fast", "ttft_ms=0", "ttft_ms"):
        with pytest.raises(BadInput, match=f"--slo is '{wrong}'"):
            parse_slo([wrong])


def test_objectives_are_columns_of_the_record() -> None:
    assert set(SLO) <= set(COLUMNS)


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(BadInput, match="ttft_s"):
        meets_slo(RECORDS, {"ttft_s": 2.0})
