"""Intervals against hand-computed numbers and scipy; the slow proof of their coverage is in test_coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from locust_kvcache.analysis.stats import intervals


def test_percentiles_need_their_samples() -> None:
    values = np.arange(99.0)
    assert intervals.carried_quantile(values, 0.99) is None
    assert intervals.carried_quantile(np.arange(100.0), 0.99) == pytest.approx(98.01)
    assert intervals.carried_quantile(values[:19], 0.9) is None
    assert intervals.carried_quantile(values[:1], 0.5) == 0.0


def test_quantile_interval_by_hand() -> None:
    # n = 10, median: P(2 <= Binomial(10, 1/2) < 9) = 1 - 2 * 11/1024 = 0.979: the second and the ninth value
    assert intervals.quantile_interval(np.arange(1.0, 11.0), 0.5) == (2.0, 9.0)
    assert intervals.quantile_interval(np.arange(1.0, 6.0), 0.5) is None  # five values: 93.75 % at most
    assert intervals.quantile_interval(np.arange(1.0, 7.0), 0.5) == (1.0, 6.0)  # six: 96.9 %


@pytest.mark.parametrize(("n", "q"), [(30, 0.5), (100, 0.9), (500, 0.95), (1000, 0.99)])
def test_quantile_interval_covers_by_the_binomial(n: int, q: float) -> None:
    low, high = intervals.quantile_interval(np.arange(1.0, n + 1), q) or (math.nan, math.nan)
    coverage = stats.binom.cdf(high - 1, n, q) - stats.binom.cdf(low - 1, n, q)
    assert 0.95 <= coverage <= 0.985


def test_expanded_tail_is_students() -> None:
    # of a mean of 10 clusters the interval must reach t(9) * s / sqrt(10) with s the usual (n - 1) deviation
    z = -stats.norm.ppf(intervals.expanded_tail(10))
    assert z * math.sqrt(9 / 10) == pytest.approx(stats.t.ppf(0.975, 9))


def test_weights_draw_every_cluster_count() -> None:
    weights = intervals.cluster_weights(7, 50)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == intervals.cluster_weights(7, 50)).all()  # seeded


@given(st.lists(st.integers(0, 3), min_size=3, max_size=12).filter(sum), st.sampled_from([0.5, 0.9, 0.95]))
def test_weighted_quantile_is_numpys_of_the_repeated_values(repeats: list[int], q: float) -> None:
    values = np.random.default_rng(1).normal(size=len(repeats))
    expected = np.quantile(np.repeat(values, repeats), q)
    found = intervals.weighted_quantiles(values, np.array([repeats], dtype=np.int32), [0.1, q])
    assert found[1, 0] == pytest.approx(expected)


def test_weighted_mean() -> None:
    assert intervals.weighted_means(np.array([1.0, 2.0, 6.0]), np.array([[2, 0, 1]], dtype=np.int32))[0] == pytest.approx(8 / 3)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04: times 3, 2, 1 = 0.03, 0.04, 0.04
    assert intervals.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert intervals.holm([]) == []


def test_smallest_effect_by_hand() -> None:
    # 31 clusters: t(30) = 2.0423 and 0.8538; se 0.05: 1 - exp(-0.144805) = 0.13481
    assert intervals.smallest_effect(0.05, 31) == pytest.approx(0.13481, abs=1e-4)


def test_p_value_is_the_paired_t_tests() -> None:
    rng = np.random.default_rng(3)
    logs = rng.normal(0.05, 0.2, 25)
    se = logs.std(ddof=1) / math.sqrt(25)
    assert intervals.p_value(logs.mean(), se, 25) == pytest.approx(stats.ttest_1samp(logs, 0).pvalue)
