"""A mean, or a change, that a few requests make is said first; noise never is taken for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.across_runs.run_comparison import compare_runs
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.comparison_page import headline
from locust_kvcache.analysis.report.run_page import run_page
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.stats.few_slow import few_slow, leads, slow_problems
from tests.analysis.synthetic import Truth, make_records, write_run

TRUTH = Truth(sessions=24, turns=5)  # 120 requests a round


def table(*rounds: list[float], computes_ms: float = 0.0) -> pd.DataFrame:
    """Requests that took `computes_ms` or more have nothing cached by plan."""
    rows = [
        ("s", number, True, ttft_ms, "hit" if number > 1 else "cold", 0 if ttft_ms >= computes_ms else 1_000)
        for number, values in enumerate(rounds, start=1)
        for ttft_ms in values
    ]
    return pd.DataFrame(rows, columns=["scenario", "round", "ok", "ttft_ms", "round_window", "planned_cached_tokens"])


def said(*rounds: list[float]) -> list[str]:
    found = few_slow(table(*rounds))
    return leads((number, found.get(("s", number))) for number in range(1, len(rounds) + 1))


def test_a_burst_lifts_the_mean_above_the_p90() -> None:
    """(115 x 100 + 5 x 10,000) / 120 = 512.5; 108 of 120 waited 100 ms or less."""
    assert said([10_000.0] * 5 + [100.0] * 115) == [
        "5 of 120 requests raise the mean TTFT of round 1 above its P90 (512 ms; 100 ms without them; median 100 ms)"
    ]
    assert said([10_000.0] + [100.0] * 18) == [], "fewer than 20 requests have no P90"
    assert said([120.0] * 5 + [100.0] * 115) == [], "100.8 is above the P90 of 100, and nobody is misled"
    assert said([540.1 / 7] * 23, [540.1 / 7] * 23) == [], "equal times, whose mean may be a rounding error above them"


def test_few_requests_make_most_of_the_change() -> None:
    """(54 x 90 + 54 x 110 + 12 x 2,000) / 120 = 290, below the P90 of 110 + 0.1 x 1,890 = 299; without the twelve both rounds have 100."""
    ordinary = [90.0, 110.0] * 54
    assert said([2_000.0] * 12 + ordinary, [90.0, 110.0] * 60) == [
        "12 of 120 requests of round 1 make most of the change (mean TTFT 290 ms; 100 ms without them; median 110 ms)"
    ]
    assert said([2_000.0] * 13 + ordinary, [90.0, 110.0] * 60) == [], "more than a tenth are not few"
    half = [
        45.0,
        55.0,
    ] * 60  # the others are twice as fast as well: 100 to 50 is more than half of 290 to 50, on the log scale 0.39
    assert len(said([2_000.0] * 12 + ordinary, half)) == 1
    fifth = [18.0, 22.0] * 60  # 100 to 20 of 290 to 20: 0.60
    assert said([2_000.0] * 12 + ordinary, fifth) == []


def test_only_the_round_whose_requests_carry_the_change_is_named() -> None:
    """100 and 90 ms without any of them; the one slow request of round 2 makes the change smaller."""
    texts = said([90.0, 110.0] * 54 + [2_000.0] * 12, [81.0, 99.0] * 59 + [90.0, 600.0])
    assert [text[:41] for text in texts] == ["12 of 120 requests of round 1 make most o"]


def test_many_such_rounds_are_counted() -> None:
    burst = [10_000.0] * 5 + [100.0] * 115
    texts = said(burst, burst, burst, burst)
    assert len(texts) == 3
    assert texts[-1] == "the same is true of 2 more of the rounds"


@pytest.mark.parametrize("requests", [20, 40, 300])
def test_noise_is_not_taken_for_it(requests: int) -> None:
    """Log-normal times whose middle 95 % span a factor of 7; with and without a change of 10 %."""
    rng = np.random.default_rng(7)
    for factor in (1.0, 0.9):
        for _ in range(60):
            before, after = (rng.lognormal(5.0, 0.5, requests) for _ in range(2))
            assert said(list(before), list(factor * after)) == []


def burst_run(folder: Path, name: str, kind: str) -> Analysis:
    """All users start at once: the first five requests of round 1 take ten seconds, all others as the records say."""
    records = [
        replace(record, ttft_ms=10_000.0, e2e_ms=10_780.0) if record.round == 1 and record.request_index < 5 else record
        for record in make_records(TRUTH.but(run_id=name, prefix_tokens=400))
    ]
    deployment = {"name": kind, "kind": kind, "endpoint": "http://127.0.0.1:8000"}
    return analyse_folder(write_run(folder / name, records, TRUTH.but(run_id=name), deployment=deployment))


def test_the_first_questions_on_each_document_are_slow_by_plan() -> None:
    """12 documents with 10 questions each: the first computes the document."""
    times = [2_000.0] * 12 + [100.0] * 108
    found = few_slow(table([10_000.0] * 5 + [100.0] * 115, computes_ms=1_000.0))
    assert found == {}
    assert few_slow(table(times, [100.0] * 120, computes_ms=1_000.0)) == {}
    assert len(few_slow(table(times, [100.0] * 120))) == 1, "nothing was to hit: the same times are no plan's"


def test_slow_first_requests_have_one_warning() -> None:
    found = few_slow(table([10_000.0] * 5 + [100.0] * 115))
    assert len(slow_problems(found, set())) == 1
    assert slow_problems(found, {("s", 1)}) == []


@pytest.mark.slow
def test_headline_console_and_comparison_begin_with_it(tmp_path: Path) -> None:
    runs = [burst_run(tmp_path, "a", "non_disagg"), burst_run(tmp_path, "b", "pd_disagg")]
    (problem,) = [row for row in runs[0].stats["problems"] if row["code"] == "few_slow"]
    assert "5 of 120 requests waited longer than" in problem["text"]
    assert not [row for row in runs[0].stats["problems"] if row["code"] == "warmup"], "one warning for the same requests"
    page = run_page(runs[0], charts=False)
    begins = "long_context_high_reuse: 5 of 120 requests raise the mean TTFT of round 1 above its P90 ("
    assert page.lead.startswith(begins)
    assert "As measured: repeating the requests" in page.lead
    assert " ".join(run_text(runs[0].stats).split()).startswith(begins)
    assert headline(compare_runs(runs)).startswith(
        "single, long_context_high_reuse: 5 of 120 requests raise the mean TTFT of round 1 above its P90. PD, long_context_high_reuse: 5 of"
    )
