"""Hits, costs and marks by hand; what is not known has no figure and says why."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.advice.demand import COLUMNS, Demand
from locust_kvcache.analysis.advice.deployments import options_of, pairs
from locust_kvcache.analysis.advice.marks import Marks, knee_of, marks_of
from locust_kvcache.analysis.advice.playing import CACHE_AWARE, blocks_for, open_at_once
from locust_kvcache.analysis.advice.prediction import Point, Prices, Question, predict
from locust_kvcache.analysis.advice.sizes import setting_of
from locust_kvcache.analysis.advice.sources import Link, Source
from locust_kvcache.analysis.model.engine_queue import EngineCosts
from locust_kvcache.analysis.model.tandem import Split
from locust_kvcache.analysis.report.advice_tables import pays_text

BLOCK = 100
COSTS = EngineCosts(0.001, 0.0, 0.0, np.ones(1), np.array([0.01]))
SOURCE = Source("hand", COSTS, ((0.0, 0.0),), kv_bytes_per_token=1e6, gpus=2)  # 1 GB: 1,000 tokens
PRICES = Prices(36.0, {"cpu": 730.0, "store": 730.0})  # a cent a GPU second; 1 an hour and GB


def demand(rounds: int = 2) -> Demand:
    """Three prompts of 1,001 tokens, none alike, an hour apart: each round goes through 3,003 tokens."""
    rows = [(index, index, 1001.0, 1, float("nan"), 0, 0.0) for index in range(3)]
    return Demand("three", pd.DataFrame(rows, columns=COLUMNS), rounds, due_s=np.array([0.0, 3600.0, 7200.0]))


def question(gpu_tokens: float = 1000.0, **given: Any) -> Question:
    values: dict[str, Any] = {"demand": demand(), "source": SOURCE, "prices": PRICES, "gpus": 2, "gpu_tokens": gpu_tokens,
                              "kv_bytes": 1e6}  # fmt: skip
    return Question(**{**values, **given})


def at(size_gb: float, tier: str = "gpu", **given: Any) -> Point:
    asked = question(**given)
    return predict(asked, blocks_for(asked.demand, asked.source, BLOCK, asked.servers, asked.routing), tier, size_gb)


def test_a_cache_hits_a_round_that_it_holds_and_lru_nothing_of_one_that_it_does_not() -> None:
    assert at(3.0).hit_rate == pytest.approx(3000 / 3003)
    assert at(2.0).hit_rate == 0.0
    assert at(3.0).ttft_p50_ms == pytest.approx(1.0)  # one token is computed
    assert at(2.0).ttft_p50_ms == pytest.approx(1001.0)


def test_a_lower_tier_adds_its_load_and_without_a_link_its_ttft_is_not_known() -> None:
    linked = dataclasses.replace(SOURCE, links={"cpu": Link(10.0, 0.5)})
    found = at(3.0, "cpu", source=linked)
    assert found.hit_rate == pytest.approx(3000 / 3003)
    assert found.ttft_p50_ms == pytest.approx(1 + 500 + 100)  # 1,000 tokens are 1 GB at 10 GB/s
    silent = at(3.0, "cpu")
    assert silent.ttft_p50_ms is None
    assert "--link-gb-per-s cpu=" in str(silent.why_no_ttft)
    assert silent.hit_rate == found.hit_rate
    assert silent.cost is not None


def test_cost_by_hand() -> None:
    """Of 2 GPUs: 3,003 tokens take 2 * 3.003 s cold; 3 GB at 1 an hour for the two hours and 1 ms that the load takes."""
    cold, hit = at(1.0), at(3.0, "cpu", source=dataclasses.replace(SOURCE, links={"cpu": Link(1e9)}))
    assert cold.prefill_gpu_s == pytest.approx(2000.0)
    assert cold.cost == pytest.approx(2000 * 0.01)
    assert hit.cost_gpu == pytest.approx(2 * 0.003 / 3003 * 1e6 * 0.01)
    assert hit.cost_tier == pytest.approx(6 / 3003 * 1e6, rel=1e-3)
    assert at(2.0).cost is None
    assert "--gb-month-price gpu=" in str(at(2.0).why_no_cost)
    assert at(1.0, prices=Prices()).cost is None


def test_prompts_far_beyond_the_fitted_ones_have_no_ttft() -> None:
    short = dataclasses.replace(SOURCE, longest_tokens=700.0)
    assert at(2.0, source=short).ttft_p50_ms is None
    assert "measured up to 700" in str(at(2.0, source=short).why_no_ttft)
    assert at(3.0, source=short).ttft_p50_ms == pytest.approx(1.0)  # of hits one token is computed
    assert at(2.0, source=dataclasses.replace(short, beyond=2.0)).ttft_p50_ms is not None


def test_more_that_decode_at_once_than_were_measured_have_no_ttft() -> None:
    rows = demand().requests.assign(output_tokens=1000)
    crowd = Demand(
        "crowd", pd.concat([rows] * 8, ignore_index=True).assign(request_index=range(24), session=range(24)), 1, users=24
    )
    found = at(1e6, demand=crowd, source=dataclasses.replace(SOURCE, measured_decoding=1.0), gpu_tokens=1e9)
    assert found.ttft_p50_ms is None
    assert "decode at once" in str(found.why_no_ttft)


def test_hits_under_load_are_a_lower_bound_and_those_of_one_user_are_not() -> None:
    """Of a full hit one token is computed: the rest of its TTFT is front end."""
    busy = Demand("busy", demand().requests.assign(output_tokens=100), 2, users=3)
    slow = dataclasses.replace(SOURCE, front_end=((0.0, 0.05),))
    assert at(10.0, demand=busy, source=slow).at_least
    assert not at(10.0, demand=dataclasses.replace(busy, users=1), source=slow).at_least
    assert not at(1.5, demand=busy, source=slow).at_least  # all is computed


def test_replicas_split_what_round_robin_scatters_and_a_cache_aware_router_keeps() -> None:
    """200 prompts, then the same again: by turns half of them come to the server that has them, whatever their order; by the router all."""
    rows = [(index, index, 1001.0, 1, float("nan"), 0, 0.0) for index in range(200)]
    rows += [(200 + index, 200 + index, 1001.0, 1, float(index), 1000, 0.0) for index in range(200)]
    twice = Demand("twice", pd.DataFrame(rows, columns=COLUMNS), 1, due_s=np.arange(400) * 10.0)
    assert at(1e3, demand=twice, servers=2).hit_rate == pytest.approx(0.25, abs=0.05)
    assert at(1e3, demand=twice, servers=2, routing=CACHE_AWARE).hit_rate == pytest.approx(0.5, abs=0.001)
    assert at(1e3, "store", demand=twice, servers=2).hit_rate == pytest.approx(0.5, abs=0.001)  # which all share


def test_other_deployments() -> None:
    asked = question(gpu_tokens=1000.0)
    one, two, aware, pair = options_of(asked, [1, 2], [Split(1, 1)], BLOCK)
    assert (one.gpus, two.gpus, pair.gpus) == (2, 4, 4)
    assert one.cost == pytest.approx(2 * 36 * 7201.001 / 3600 / 3003 * 1e6)
    assert two.cost == pytest.approx(2 * one.cost)
    assert one.hit_rate == 0.0
    assert aware.hit_rate == pytest.approx(1000 / 3003)  # the second server has one prompt, which it keeps
    assert pair.ttft_p50_ms is None
    assert "locust-kvcache ratio --pd" in str(pair.why_not)
    known = pairs(question(source=dataclasses.replace(SOURCE, hand_off=Link(10.0, 0.2))), Split(1, 1), BLOCK)
    assert known.ttft_p50_ms == pytest.approx(1001 + 200 + 100.1 + 10, rel=0.01)  # prefill, hand-off, a token of the decoder


def test_open_at_once() -> None:
    assert open_at_once(demand(), SOURCE, 1) == 1
    assert open_at_once(dataclasses.replace(demand(), due_s=np.zeros(3)), SOURCE, 1) == 3


def point(size: float, hit: float, cost: float | None = None) -> Point:
    return Point("cpu", size, 1000 * size, 1, "round_robin", hit, cost_gpu=cost, cost_tier=None if cost is None else 0.0)


def test_knee_is_the_smallest_size_with_nine_tenths() -> None:
    sizes = [point(4, 0.50), point(1, 0.10), point(2, 0.45)]
    assert knee_of(sizes, 0.5) == sizes[2]
    assert knee_of(sizes, 0.6) is None
    assert knee_of(sizes, 0.0) is None


def test_the_verifying_run_has_the_size_that_gains_most() -> None:
    small, large = Point("gpu", 1, 1000, 1, "round_robin", 0.1), Point("gpu", 10, 10_000, 1, "round_robin", 0.5)
    gpu = Marks("gpu", large, None, None, None)
    cpu = Marks("cpu", point(20, 0.5), 30.0, point(8, 0.4, 1.0), True)
    assert setting_of([gpu], 10.0, 100) == ""  # the GPU cache is enough
    assert (
        setting_of([gpu], 1.0, 100)
        == "Give the server 10 GB of KV cache of the engine (vLLM --num-gpu-blocks-override 100), then run:"
    )
    assert setting_of([gpu, cpu], 1.0, 100) == "Give the server 8 GB of host memory (LMCACHE_MAX_LOCAL_CPU_SIZE=8), then run:"
    assert setting_of([Marks("gpu", None, None, None, None)], small.size_gb, 100) == ""


def timed(size: float, cost: float, ttft_ms: float | None) -> Point:
    return dataclasses.replace(point(size, 0.9, cost), ttft_mean_ms=ttft_ms)


@pytest.mark.parametrize(
    ("ttft_ms", "faster", "alone", "said"),
    [(774.0, False, True, "over 8.00 GB, no faster"), (711.0, False, True, "over 8.00 GB, no faster"),
     (700.0, True, False, "over 8.00 GB"), (None, None, False, "over 8.00 GB")],
)  # fmt: skip
def test_a_tier_whose_hits_take_as_long_as_computing_pays_in_gpu_seconds_alone(
    ttft_ms: float | None, faster: bool | None, alone: bool, said: str
) -> None:
    """738 ms without the tier: 95 % of it are 701."""
    found = marks_of("cpu", [timed(8, 1.0, ttft_ms)], 0.9, 10.0, own=timed(1, 10.0, 738.0))
    assert (found.pays, found.faster, found.in_gpu_seconds_alone) == (True, faster, alone)
    assert pays_text(found) == said
    dear = marks_of("cpu", [timed(8, 20.0, ttft_ms)], 0.9, 10.0, own=timed(1, 10.0, 738.0))
    assert not dear.in_gpu_seconds_alone, "what does not pay, saves no money in GPU seconds either"


def test_a_tier_that_shortens_the_p50_on_the_page_is_not_called_no_faster() -> None:
    """Long loads hold the mean at 738 ms, and half of the requests have their first token after 300 ms in place of 700."""
    own = dataclasses.replace(timed(1, 10.0, 738.0), ttft_p50_ms=700.0)
    best = dataclasses.replace(timed(8, 1.0, 738.0), ttft_p50_ms=300.0)
    assert marks_of("cpu", [best], 0.9, 10.0, own=own).faster is True
    slow = dataclasses.replace(best, ttft_p50_ms=690.0)
    assert marks_of("cpu", [slow], 0.9, 10.0, own=own).faster is False
    assert marks_of("cpu", [slow], 0.9, 10.0, own=dataclasses.replace(own, at_least=True)).faster is None, (
        "it may take far longer"
    )


def test_break_even_and_cheapest() -> None:
    sizes = [point(1, 0.1, 9.0), point(2, 0.2, 7.0), point(4, 0.3, 10.0), point(8, 0.3, 20.0)]
    found = marks_of("cpu", sizes, 0.3, without=10.0)
    assert (found.pays, found.largest_pays) == (True, False)
    assert (found.break_even_gb, found.cheapest) == (4.0, sizes[1])
    assert marks_of("cpu", sizes, 0.3, without=12.0).break_even_gb == pytest.approx(4 + 4 * 2 / 10)
    assert marks_of("cpu", sizes, 0.3, without=5.0).pays is False
    assert marks_of("cpu", sizes, 0.3, without=30.0).largest_pays
    assert marks_of("cpu", sizes, 0.3, without=None).pays is None
