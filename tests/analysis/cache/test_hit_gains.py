"""What a hit gained of what it can gain, by hand: work, link, and the hand-off that a PD pair cannot avoid."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.cache.hit_gains import gains, largest
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.tables.store_cost import cost_row, has_store

FACTS: dict[str, Any] = {"deployment": {"kind": "non_disagg"}, "model_info": {"kv_bytes_per_token": 100_000}}
PLAIN = parse_run_info(FACTS)
PD = parse_run_info({**FACTS, "deployment": {"kind": "pd_disagg"}})


def test_without_the_models_flop_work_is_tokens() -> None:
    """9,000 of 10,000 tokens on the GPU leave a tenth of the work: 90 %."""
    assert largest(2.0, 10_000, 9_000, 0, 0, PLAIN, 10.0) == pytest.approx((0.9, 0.9))


def test_loading_costs_what_the_link_takes() -> None:
    """9,000 tokens x 100 kB over 1 GB/s are 0.9 s of 2 s cold: 1 - (0.9 + 0.2) / 2; at the same time 1 - 0.9 / 2."""
    assert largest(2.0, 10_000, 9_000, 9_000, 0, PLAIN, 1.0) == pytest.approx((0.45, 0.55))


def test_a_pd_pair_hands_off_even_on_a_hit() -> None:
    """10,000 tokens x 100 kB over 2 GB/s are 0.5 s of both; 1.5 s of work become 0.15 s."""
    assert largest(2.0, 10_000, 9_000, 0, 0, PD, 2.0) == pytest.approx((1 - 0.65 / 2, 1 - 0.65 / 2))


def test_attention_makes_the_last_tokens_dearer() -> None:
    """F = 2 N (n - p) + c (n^2 - p^2) / 2 = 1,000 + 9,500 of 10,000 + 50,000 for N = 0.5, c = 0.001, n = 10,000, p = 9,000."""
    info = parse_run_info({**FACTS, "model_info": {"active_parameters": 0.5, "attention_flop_per_token2": 0.001}})
    assert largest(2.0, 10_000, 9_000, 0, 0, info, 1.0)[0] == pytest.approx(1 - 10_500 / 60_000)


def test_a_pass_over_the_weights_is_the_least() -> None:
    """A tenth of 2 s would be 0.2 s; a step of 0.5 s leaves 75 %."""
    assert largest(2.0, 10_000, 9_000, 0, 0, PLAIN, 10.0, step_s=0.5)[0] == pytest.approx(0.75)


def test_what_is_not_known_gives_no_limit() -> None:
    """No counters of the tier, or no KV bytes of the model: computing alone still bounds it from above."""
    unknown_model = parse_run_info({**FACTS, "model_info": None})
    assert largest(2.0, 10_000, 9_000, None, 0, PLAIN, 1.0) == (None, pytest.approx(0.9))
    assert largest(2.0, 10_000, 9_000, 9_000, 0, unknown_model, 1.0) == (None, pytest.approx(0.9))
    assert largest(2.0, 10_000, 9_000, 0, 0, unknown_model, 1.0) == pytest.approx((0.9, 0.9))


def tables(cached: float) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    verdicts = [
        {
            "scenario": "s",
            "round": number,
            "verdict": verdict,
            "prompt_tokens": 100_000.0,
            "cached_tokens": tokens,
            "below_tokens": 0.0,
        }
        for number, verdict, tokens in ((1, "cold proven", 0.0), (2, "GPU hit", cached))
    ]
    rounds = [{"scenario": "s", "round": number, "succeeded": 10} for number in (1, 2)]
    times = [
        {"scenario": "s", "split": "round", "group": group, "metric": "ttft_ms", "mean": mean}
        for group, mean in (("1", 2000.0), ("2", 380.0))
    ]
    return pd.DataFrame(verdicts), pd.DataFrame(rounds), pd.DataFrame(times)


def test_achieved_over_possible() -> None:
    (row,) = gains(*tables(90_000.0), PLAIN, 63.0).to_dict("records")
    assert (row["reduction"], row["limit_serial"]) == (pytest.approx(0.81), pytest.approx(0.9))
    assert row["of_limit"] == pytest.approx(0.9)
    assert not row["by_flop"]
    assert gains(*tables(float("nan")), PLAIN, 63.0).empty


def stats(cold_ms: float, hit_ms: float, written: float, tier: str | None = "store", kind: str = "non_disagg") -> dict[str, Any]:
    times = [{"scenario": "s", "split": "round", "group": str(number), "metric": "ttft_ms", "mean": mean, "min": mean - 1,
              "max": mean + 1, "median_low": mean - 1, "median_high": mean + 1}
             for number, mean in ((1, cold_ms), (2, hit_ms))]  # fmt: skip
    moves = [{"scenario": "s", "round": 1, "kind": "save", "bytes": written, "seconds": 1.0}] if written else []
    judged = [{"scenario": "s", "round": 2, "tier": tier}]
    run = {"deployment": {"kind": kind}}
    return {"distributions": times, "transfers": moves, "tiers": [], "verdicts": judged, "claims": [], "run": run}


def test_what_a_decoder_is_handed_is_no_store() -> None:
    for role, stored in (("decoder", False), ("prefiller", True), ("server", True)):
        assert has_store({"transfers": [], "tiers": [{"role": role, "external": 5.0}]}) is stored


def test_cost_of_writing_beside_the_gain() -> None:
    """300 ms dearer cold, and 600 ms cheaper on a hit than the same round without a store: it pays from one hit in two."""
    plain, stored = stats(1000.0, 1000.0, 0.0, tier=None), stats(1300.0, 400.0, 2e9)
    assert (has_store(plain), has_store(stored)) == (False, True)
    row = cost_row(plain, stored, "s")
    assert row
    assert (row["cost_ms"], row["gain_ms"], row["hits_to_pay"], row["written_gb"]) == (300.0, 600.0, 0.5, 2.0)
    never = cost_row(plain, stats(1300.0, 1100.0, 2e9), "s")
    assert never
    assert never["hits_to_pay"] is None


def test_what_says_nothing_of_a_store() -> None:
    """A hit that the GPU's own cache answered, another kind of deployment, cold rounds that are not apart."""
    plain = stats(1000.0, 1000.0, 0.0, tier=None)
    assert cost_row(plain, stats(1300.0, 400.0, 2e9, tier="gpu"), "s") is None
    assert cost_row(plain, stats(1300.0, 400.0, 2e9, kind="pd_disagg"), "s") is None
    assert cost_row(plain, stats(1001.0, 400.0, 2e9), "s") is None
