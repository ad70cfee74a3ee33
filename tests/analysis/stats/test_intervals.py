"""Intervals against hand-computed numbers and scipy; the proof of their coverage is in tests/analysis/test_coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.intervals import Spread


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


def test_quantiles_are_numpys() -> None:
    values = np.sort(np.random.default_rng(1).normal(size=37))
    for q in (0.0, 0.5, 0.9, 0.99, 1.0):
        assert intervals.quantile(values, q) == pytest.approx(np.quantile(values, q))


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04: times 3, 2, 1 = 0.03, 0.04, 0.04
    assert intervals.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert intervals.holm([]) == []


@pytest.mark.parametrize(("freedom", "tests"), [(3, 1), (9, 1), (30, 4)])
def test_the_smallest_effect_is_found_four_times_in_five_at_holms_level(freedom: int, tests: int) -> None:
    """By simulation of the t that is really used: a true log ratio of that size, and a standard error with `freedom` degrees."""
    rng, se = np.random.default_rng(3), 0.05
    effect = -math.log(1 - intervals.smallest_effect(Spread(se, freedom), tests))
    t = (effect + se * rng.normal(size=40_000)) / (se * np.sqrt(rng.chisquare(freedom, 40_000) / freedom))
    assert np.mean(t > stats.t.isf(0.05 / tests / 2, freedom)) == pytest.approx(0.8, abs=0.01)


def test_more_tests_hide_smaller_effects() -> None:
    assert intervals.smallest_effect(Spread(0.05, 20), 8) > 1.2 * intervals.smallest_effect(Spread(0.05, 20))


def test_p_value_and_interval_are_the_paired_t_tests() -> None:
    logs = np.random.default_rng(3).normal(0.05, 0.2, 25)
    spread, test = Spread(logs.std(ddof=1) / math.sqrt(25), 24), stats.ttest_1samp(logs, 0)
    assert intervals.p_value(logs.mean(), spread) == pytest.approx(test.pvalue)
    assert logs.mean() - intervals.half_width(spread) == pytest.approx(test.confidence_interval().low)


def test_unequal_clusters_count_for_less() -> None:
    # sizes 8, 1, 1: 10^2 / 66 = 1.515
    assert intervals.effective_count(np.repeat([0, 1, 2], [8, 1, 1])) == pytest.approx(100 / 66)
    assert intervals.effective_count(np.repeat(np.arange(6), 5)) == pytest.approx(6)
