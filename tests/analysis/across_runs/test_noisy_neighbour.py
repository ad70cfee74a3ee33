"""Pairs of one tenant alone and beside the others: differences and Student's intervals by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs.noisy_neighbour import differences

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
