"""Predicted against measured: by hand, and on published runs; docs/advise.md has what is missed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.advise_truth import CASES, RESULTS, Case, checked
from locust_kvcache.analysis.advice.check import HIT_RATE, Check, checks_of, kept_text, measured_round
from locust_kvcache.analysis.advice.demand import COLUMNS, Demand
from locust_kvcache.analysis.advice.prediction import Point
from locust_kvcache.contract.errors import BadInput

TRACE = Path(os.environ.get("KV_TRACES", "no folder is named")) / "conversation_trace.jsonl"


def case(run: str, round_: int) -> Case:
    return next(one for one in CASES if one.run.endswith(run) and one.round == round_)


def test_checks_by_hand() -> None:
    records = pd.DataFrame({"prompt_tokens": [100, 300], "reported_cached_tokens": [0, 200], "ttft_ms": [100.0, 300.0]})
    point = Point("gpu", 1.0, 1e3, 1, "round_robin", 0.51, ttft_p50_ms=240.0, ttft_p90_ms=280.0)
    hit, p50, p90, mean = checks_of(point, records)
    assert (hit.predicted, hit.measured, hit.kept, hit.off_text) == (0.51, 0.5, True, "+1.0 points")
    assert p50.off == pytest.approx(0.2)
    assert (p50.kept, p90.kept) == (False, True)
    assert (mean.off, mean.kept, mean.off_text) == (None, None, "not known")
    assert kept_text([hit, p50]) == "hit rate +1.0 points; TTFT P50 +20.0 %"
    assert Check(HIT_RATE, 0.1, 0.2).off_text == "−10.0 points"


def test_another_load_is_refused() -> None:
    rows = pd.DataFrame([(0, 0, 1001.0, 1, float("nan"), 0, 0.0)], columns=COLUMNS)
    with pytest.raises(BadInput, match="give a run of the same load"):
        measured_round(RESULTS / "h200-pair-vllm-0.26" / "single_load_c8", Demand("cold_start", rows, 1, np.zeros(1)))


def test_of_a_run_of_arms_the_round_of_the_tier_is_compared() -> None:
    """Rounds are cold, gpu_hit and cpu_hit: docs/results has 1,059 ms for the second and 2,287 for the third, as means of three runs."""
    run = RESULTS / "h200x8-vllm-0.26" / "q_u50_1"
    rows = pd.DataFrame([(0, 0, 486_400.0, 64, float("nan"), 0, 0.0)], columns=COLUMNS)
    demand = Demand("mooncake_lmcache_72b", rows, 2, np.zeros(1))
    assert 887 <= measured_round(run, demand)["ttft_ms"].mean() <= 1160
    assert 2128 <= measured_round(run, demand, "cpu")["ttft_ms"].mean() <= 2509
    with pytest.raises(BadInput, match="its arms are cold, gpu_hit, cpu_hit; expected store_hit"):
        measured_round(run, demand, "store")


def test_an_h200_run_under_load_is_within_the_wanted_limits() -> None:
    """Eight users on two H200s, costs from a run of one user."""
    one = case("tp2_load_1_c8", 1)
    _, checks = checked(one, RESULTS / one.run, None)
    assert [check.kept for check in checks] == [True] * 4


def test_hits_of_a_published_run_are_those_predicted() -> None:
    one = case("single_turns_c10", 1)
    _, (hit, *_) = checked(one, RESULTS / one.run, None)
    assert hit.off == pytest.approx(0.0, abs=0.005)


@pytest.mark.skipif(not TRACE.is_file(), reason="KV_TRACES names no folder with conversation_trace.jsonl")
def test_the_published_cpu_trace_is_within_the_wanted_limits() -> None:
    one = case("vllm-0.32-cpu-trace", 1)
    _, checks = checked(one, RESULTS / one.run, TRACE)
    assert [check.kept for check in checks] == [True] * 4
