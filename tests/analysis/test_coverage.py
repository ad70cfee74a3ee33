"""The intervals hold what they promise: 1,000 simulated runs each; 95 % nominal must cover the truth in 92 to 98 % of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.comparison import compare_pairs

RUNS = 1000


def simulated(rng: np.random.Generator, sessions: int, turns: int, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right-skewed times; requests of a session are alike (their cold and hit times too)."""
    clusters = np.repeat(np.arange(sessions), turns)
    session = np.exp(rng.normal(0, 0.2, sessions))[clusters]
    cold, hit = (session * np.exp(rng.normal(0, 0.3, sessions * turns)) for _ in range(2))
    return 1000 * cold, 1000 * ratio * hit, clusters


@pytest.mark.parametrize(("sessions", "turns"), [(30, 1), (12, 5)])
def test_paired_clustered_intervals_cover(sessions: int, turns: int) -> None:
    rng, held = np.random.default_rng(7), {"mean": 0, "median": 0, "p90": 0}
    for _ in range(RUNS):
        for row in compare_pairs(*simulated(rng, sessions, turns, 0.4), resamples=300):
            if row["statistic"] in held:
                held[row["statistic"]] += row["ratio_low"] <= 0.4 <= row["ratio_high"]
    for name, count in held.items():
        assert 0.92 <= count / RUNS <= 0.98, (name, count / RUNS)


def test_without_an_effect_few_are_found() -> None:
    """At p < 0.05 about one run in twenty is called better or worse although nothing was put in."""
    rng = np.random.default_rng(11)
    rows = [compare_pairs(*simulated(rng, 20, 1, 1.0), resamples=300)[0] for _ in range(RUNS)]
    assert 0.03 <= np.mean([row["p_value"] < 0.05 for row in rows]) <= 0.08


def test_the_smallest_effect_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(13)
    effect = np.median([compare_pairs(*simulated(rng, 20, 1, 1.0), resamples=300)[0]["smallest_effect"] for _ in range(100)])
    rows = [compare_pairs(*simulated(rng, 20, 1, 1 - effect), resamples=300)[0] for _ in range(400)]
    assert 0.72 <= np.mean([row["p_value"] < 0.05 for row in rows]) <= 0.88


@pytest.mark.parametrize(("n", "q"), [(50, 0.5), (200, 0.9)])
def test_order_statistic_intervals_cover(n: int, q: float) -> None:
    rng = np.random.default_rng(17)
    truth, held = math.exp(stats.norm.ppf(q)), 0
    for _ in range(RUNS):
        low, high = intervals.quantile_interval(np.exp(rng.normal(size=n)), q) or (math.inf, -math.inf)
        held += low <= truth <= high
    assert 0.92 <= held / RUNS <= 0.98


def test_like_scipys_bootstrap() -> None:
    """One cluster per pair: the same interval as scipy's paired percentile bootstrap, but for the expansion."""
    cold, hit, clusters = simulated(np.random.default_rng(19), 200, 1, 0.4)
    row = compare_pairs(cold, hit, clusters)[0]
    reference = stats.bootstrap((cold, hit), lambda a, b, axis: b.mean(axis) / a.mean(axis), paired=True, method="percentile",
                                n_resamples=3000, rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    assert row["ratio_low"] == pytest.approx(reference.low, rel=0.015)
    assert row["ratio_high"] == pytest.approx(reference.high, rel=0.015)


def test_m_out_of_n_is_as_wide_as_the_whole() -> None:
    """Above MAX_RESAMPLED pairs only some sessions are resampled; the interval must be that of all of them."""
    cold, hit, clusters = simulated(np.random.default_rng(23), 5000, 4, 0.4)
    row = compare_pairs(cold, hit, clusters)[0]
    sums = [np.bincount(clusters, side) for side in (cold, hit)]
    influence = sums[1] / sums[1].mean() - sums[0] / sums[0].mean()  # delta method for a ratio of clustered means
    half = 1.96 * influence.std(ddof=1) / math.sqrt(5000)
    assert row["ratio_low"] == pytest.approx(row["ratio"] * math.exp(-half), rel=0.002)
    assert row["ratio_high"] == pytest.approx(row["ratio"] * math.exp(half), rel=0.002)
