"""Requests that meet all objectives, counted by hand."""

import pandas as pd
import pytest

from locust_kvcache.analysis.reading.records import COLUMNS
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
