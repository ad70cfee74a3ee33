"""Pairs of one tenant alone and beside the others: differences and Student's intervals by hand."""

from __future__ import annotations

import math
from statistics import geometric_mean

import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs.noisy_neighbour import differences, points

T_2 = 4.302652729911275  # Student's 97.5 % quantile of 2 degrees of freedom


def values(pairs: int) -> pd.DataFrame:
    rows = []
    for pair, (alone, beside, before_ms, after_ms) in enumerate(
        [(0.9, 0.5, 10.0, 20.0), (0.9, 0.4, 10.0, 40.0), (0.9, 0.3, 10.0, 80.0)][:pairs]
    ):
        rows.append(("s", 1, pair, "alone", alone, before_ms, None))
        rows.append(("s", 1, pair, "beside", beside, after_ms, None))
    return pd.DataFrame(rows, columns=["scenario", "round", "pair", "side", "hit_rate", "ttft_p50_ms", "ttft_p90_ms"])


def test_three_pairs_by_hand() -> None:
    hits, times = differences(values(3))
    assert (hits["alone"], hits["beside"], hits["pairs"]) == (pytest.approx(0.9), pytest.approx(0.4), 3)
    half = T_2 * 0.1 / math.sqrt(3)
    assert (hits["difference"], hits["low"], hits["high"]) == pytest.approx((-0.5, -0.5 - half, -0.5 + half))
    half = T_2 * math.log(2) / math.sqrt(3)
    assert (times["ratio"], times["ratio_low"], times["ratio_high"]) == pytest.approx(
        (4, 4 * math.exp(-half), 4 * math.exp(half))
    )


def test_times_are_geometric_means_whose_ratio_is_the_change() -> None:
    _, times = differences(values(3))
    assert (times["alone"], times["beside"]) == (pytest.approx(10), pytest.approx(40))  # (20 x 40 x 80) ^ (1/3), not 46.7
    shown = points(values(3), "s", "ttft_p50_ms")
    means = {str(side): geometric_mean(rows["value"]) for side, rows in shown.groupby("side")}
    assert means == pytest.approx({"alone": times["alone"], "beside": times["beside"]})  # the chart's


def test_the_interval_of_a_hit_rates_change_stays_possible() -> None:
    table = values(2)
    table["hit_rate"] = [0.95, 0.0, 0.99, 0.2]
    hits, _ = differences(table)  # -0.95 and -0.79: mean -0.87, half width 12.7 x 0.08 = 1.02
    assert (hits["difference"], hits["low"], hits["high"]) == pytest.approx((-0.87, -1.0, -0.87 + 12.706204736 * 0.08))


def test_the_chart_shows_whole_pairs_only() -> None:
    table = values(3)
    shown = points(table[~(table["pair"].eq(2) & table["side"].eq("beside"))], "s", "ttft_p50_ms")
    assert sorted(shown["pair"]) == [0, 0, 1, 1]


def test_one_pair_has_no_interval() -> None:
    hits, times = differences(values(1))
    assert (hits["difference"], hits["low"], times["ratio"], times["ratio_low"]) == (
        pytest.approx(-0.4),
        None,
        pytest.approx(2),
        None,
    )


def test_half_a_pair_is_no_pair() -> None:
    table = values(2)
    assert differences(table[table["side"].eq("alone")]) == []
