"""Drift, warm-up and outliers that were put in are found; nothing is found where nothing was put in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.stats.steadiness import theil_sen
from tests.analysis.synthetic import Truth, make_records, write_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=10, turns=6, noise=0.05)


def scaled(factors: list[float]) -> list:
    records = make_records(TRUTH)
    return [dataclasses.replace(r, ttft_ms=r.ttft_ms * factors[r.request_index] if r.round == 2 else r.ttft_ms) for r in records]


def codes(tmp_path: Path, records: list, truth: Truth = TRUTH) -> list[str]:
    return [problem["code"] for problem in analyse_folder(write_run(tmp_path, records, truth)).stats["problems"]]


def test_a_steady_run(tmp_path: Path) -> None:
    assert codes(tmp_path, make_records(TRUTH)) == []


def test_drift(tmp_path: Path) -> None:
    analysis = analyse_folder(write_run(tmp_path, scaled([1 + i / 60 for i in range(60)]), TRUTH))
    assert [problem["code"] for problem in analysis.stats["problems"]] == ["drift"]
    assert analysis.stats["problems"][0]["what_to_do"].startswith("A queue that grows")
    [row] = [row for row in analysis.stats["steady_state"] if row["round"] == 2]
    assert row["drift"] == pytest.approx(0.98, rel=0.2)  # from 1 to 1.98


def test_a_change_over_a_round_is_a_ratio_of_its_end_and_its_start(tmp_path: Path) -> None:
    """From 10 times to once as slow: -90 %, and never below -100 %."""
    records = scaled([10.0 ** (1 - i / 59) for i in range(60)])
    stats = analyse_folder(write_run(tmp_path, records, TRUTH)).stats
    [row] = [row for row in stats["steady_state"] if row["round"] == 2]
    assert row["drift"] == pytest.approx(-0.9, abs=0.02)
    (told,) = [problem for problem in stats["problems"] if problem["code"] == "drift"]
    assert "changes by −90" in told["text"]
    assert told["what_to_do"].startswith("Warm-up, or the users' first requests")


def test_round_1_is_tested_without_evidence_too(tmp_path: Path) -> None:
    """A PD pair reports no cached tokens: round 1 is `unknown`, and its first requests are ten times slower all the same."""
    truth = Truth(sessions=40, turns=1, noise=0.05)
    records = [
        dataclasses.replace(
            r, reported_cached_tokens=None, ttft_ms=r.ttft_ms * (10.0 if r.round == 1 and r.request_index < 5 else 1.0)
        )
        for r in make_records(truth)
    ]
    assert "warmup" in codes(tmp_path, records, truth)


def test_warm_up(tmp_path: Path) -> None:
    assert codes(tmp_path, scaled([3.0] * 6 + [1.0] * 54)) == ["warmup"]


def test_sizes_are_no_drift_and_no_outliers(tmp_path: Path) -> None:
    truth = TRUTH.but(spread_tokens=2000)
    analysis = analyse_folder(write_run(tmp_path, make_records(truth), truth))
    assert [problem["code"] for problem in analysis.stats["problems"]] == []
    assert analysis.stats["outliers"] == []


def test_outliers_are_named_and_stay(tmp_path: Path) -> None:
    records = make_records(TRUTH)
    records[77] = dataclasses.replace(records[77], ttft_ms=records[77].ttft_ms * 5)
    analysis = analyse_folder(write_run(tmp_path, records, TRUTH))
    [row] = analysis.stats["outliers"]
    assert (row["round"], row["request_index"], row["of"]) == (2, 17, 1)
    assert row["times_the_median"] == pytest.approx(5, rel=0.2)
    [ttft] = [r for r in analysis.stats["distributions"] if (r["split"], r["group"], r["metric"]) == ("round", "2", "ttft_ms")]
    assert ttft["max"] == pytest.approx(records[77].ttft_ms)


def test_the_slope_is_scipys() -> None:
    assert theil_sen(np.array([1.0, 2.0, 4.0])) == 1.5  # slopes 1, 2 and 3 / 2
    values = np.random.default_rng(5).normal(size=101)
    assert theil_sen(values) == pytest.approx(stats.theilslopes(values, np.arange(101))[0], rel=1e-12)
