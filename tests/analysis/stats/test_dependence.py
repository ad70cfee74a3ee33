"""Who depends on whom: shared documents are one cluster, requests that queue are blocks in time, and too few of either give no interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.stats import comparison, dependence, pairing, verdicts
from locust_kvcache.analysis.stats.dependence import Grouping


def records(requests: int, alike: int = 1, in_flight: int = 1, rounds: int = 2, hit: float = 0.5) -> pd.DataFrame:
    """Each request takes 1 s cold and `hit` later, with 20 % noise; `in_flight` of them at once."""
    rng, index = np.random.default_rng(5), np.arange(requests)
    tables = []
    for number in range(1, rounds + 1):
        seconds = (hit if number > 1 else 1.0) * np.exp(rng.normal(0, 0.2, requests))
        tables.append(pd.DataFrame({
            "scenario": "s", "round": number, "request_index": index, "session_id": index, "ok": True,
            "started_at_s": 1000.0 * number + index / in_flight * 2.0, "e2e_ms": 1990.0, "ttft_ms": 1000 * seconds,
            "tpot_ms": 20.0 * seconds, "itl_p50_ms": 20.0 * seconds, "prefill_estimate_ms": 980.0 * seconds,
            "round_window": "hit" if number > 1 else "cold",
        }))  # fmt: skip
    table = pd.concat(tables, ignore_index=True)
    return dependence.add_dependence(table, table["request_index"] // alike * alike)


def mean_ttft(table: pd.DataFrame) -> dict[str, object]:
    effects = comparison.effects(pairing.pair_rounds(table))
    return effects[effects["metric"].eq("ttft_ms") & effects["statistic"].eq("mean")].iloc[0].to_dict()


def test_questions_on_one_document_are_one_cluster() -> None:
    row = mean_ttft(records(30, alike=5))
    assert (row["clusters"], row["freedom"]) == (6, 5)
    assert mean_ttft(records(30))["clusters"] == 30


def test_three_clusters_have_a_change_and_no_interval() -> None:
    row = mean_ttft(records(15, alike=5))
    assert row["ratio"] == pytest.approx(0.5, rel=0.2)
    assert pd.isna(row["ratio_low"])
    assert row["no_interval"] == "3 prefix clusters, an interval needs 4"


def test_requests_that_overlap_are_cut_into_blocks_twice_as_long_as_the_queue() -> None:
    """4 in flight: blocks of 8 at the least, so 80 requests are 10 blocks; of 320 requests the most is 20."""
    assert mean_ttft(records(80, in_flight=4))["clusters"] == 10
    assert mean_ttft(records(320, in_flight=4))["clusters"] == 20


def test_a_round_that_only_fills_the_queue_has_no_interval() -> None:
    row = mean_ttft(records(16, in_flight=8))
    assert pd.isna(row["ratio_low"])
    assert "in flight at once: an interval needs 3 times as many" in str(row["no_interval"])


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    """Influences 1, 1, -1, -1: their lag-1 correlation is 1/4, and 1/4 more for four blocks: 1.5 / 0.5 = 3 times the variance."""
    blocks = Grouping(np.arange(4), in_time=True)
    assert blocks.variance(np.array([1.0, 1.0, -1.0, -1.0])) == pytest.approx(3 * 4)
    assert blocks.variance(np.array([1.0, -1.0, 1.0, -1.0])) == pytest.approx(4)


def test_percentiles_are_those_of_all_values_and_not_of_averages() -> None:
    """Every hit is 100 or 900 ms in turn over two rounds: the average of each request is 500, the P90 of the values 900."""
    table = records(40, rounds=3)
    hits = table["round"].gt(1)
    slow = (table["request_index"] + table["round"]).mod(2).eq(0)
    table.loc[hits, "ttft_ms"] = np.where(slow[hits], 900.0, 100.0)
    effects = comparison.effects(pairing.pair_rounds(table)).set_index(["metric", "statistic"])
    assert effects.loc[("ttft_ms", "p90"), "contender"] == 900.0
    assert effects.loc[("ttft_ms", "mean"), "contender"] == pytest.approx(500.0)


def test_percentiles_are_carried_by_clusters() -> None:
    """120 requests in 12 sessions carry no P90 (20), in 120 sessions P90, P95 and P99."""
    few = comparison.effects(pairing.pair_rounds(records(120, alike=10)))
    many = comparison.effects(pairing.pair_rounds(records(120)))
    assert set(few["statistic"]) == {"mean", "median", "pair_ratio"}
    assert {"p90", "p95", "p99"} <= set(many["statistic"])


def test_metrics_that_are_functions_of_one_another_take_one_place() -> None:
    """Five metrics and three rates are four hypotheses: the smallest p-value is multiplied by 4."""
    table = records(30)
    latencies = comparison.effects(pairing.pair_rounds(table))
    rounds = pd.DataFrame([("s", n, 60.0, 0.5 * n, 5.0 * n, 50.0 * n) for n in (1, 2)],
                          columns=["scenario", "round", "wall_s", *comparison.RATES])  # fmt: skip
    rates = comparison.rate_effects(rounds[:1], rounds[1:], latencies, closed_loop=True)
    judged = verdicts.add_verdicts(pd.concat([latencies, rates], ignore_index=True))
    tested = judged[judged["p_adjusted"].notna()]
    assert len(tested) == 8
    ttft, estimate = (tested[tested["metric"].eq(name)].iloc[0] for name in ("ttft_ms", "prefill_estimate_ms"))
    assert ttft["p_adjusted"] <= 4 * ttft["p_value"] * 1.0001
    assert estimate["p_adjusted"] == pytest.approx(max(ttft["p_adjusted"], estimate["p_value"]))


def test_better_has_an_interval_without_zero() -> None:
    for seed in range(20):
        table = records(12).assign(ttft_ms=1000 * np.exp(np.random.default_rng(seed).normal(0, 1.0, 24)))
        judged = verdicts.add_verdicts(comparison.effects(pairing.pair_rounds(table)))
        said = judged[judged["verdict"].isin(["better", "worse"])]
        assert ((said["ratio_low"] > 1) | (said["ratio_high"] < 1)).all()


def test_users_that_pause_give_no_interval_of_the_rate() -> None:
    busy, idle = records(30, in_flight=4), records(30, in_flight=1)
    idle["started_at_s"] += idle["request_index"] * 20.0
    assert dependence.paused(busy) == frozenset()
    assert dependence.paused(idle) == {"s"}


def test_a_fifth_of_pauses_is_seen_where_ramp_and_tail_are_no_pause() -> None:
    """One user busy for 4 of 5 s has pauses in its rate; two users of whom one has nothing left to do in the last fifth have not."""
    often = pd.DataFrame(
        {"scenario": "s", "round": 1, "ok": True, "started_at_s": [5.0 * i for i in range(20)], "e2e_ms": 4000.0}
    )
    assert dependence.paused(often) == {"s"}
    tail = pd.DataFrame({"scenario": "s", "round": 1, "ok": True, "started_at_s": [*range(20), *range(14)], "e2e_ms": 1000.0})
    assert dependence.paused(tail) == frozenset()


def test_clusters_that_all_have_the_same_share_below_the_median_give_it_no_interval() -> None:
    """Each of six documents has four fast and four slow questions: the share below the median varies by nothing, which is no width of 0."""
    table = records(48, alike=8)
    table["ttft_ms"] = np.where(table["request_index"] % 2 == 0, 100.0, 900.0) + table["request_index"]
    effects = comparison.effects(pairing.pair_rounds(table)).set_index(["metric", "statistic"])
    assert pd.isna(effects.loc[("ttft_ms", "median"), "ratio_low"])
    assert pd.notna(effects.loc[("ttft_ms", "mean"), "ratio"])
