"""Ideal caches beside the achieved hit rate: by hand, and against the emulator's own cache."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from locust_kvcache.analysis.cache import ideal_caches
from locust_kvcache.analysis.cache.ideal_caches import ENDLESS, chains, lru_tokens, over_time
from locust_kvcache.analysis.tables.ideal_cache_tables import ideal_table, rate_points, why_no_tiers
from tests.analysis.test_emulator_truth import BLOCK, Truth, run

NAN = math.nan


def frame(rows: list[dict]) -> pd.DataFrame:
    """Blocks of 10 tokens; a prompt of 41 with no answer is 4 blocks, of which all may be served."""
    base = {"scenario": "s", "round": 1, "shares_prefix_with": NAN, "prompt_tokens": 41.0, "output_tokens": 0.0,
            "planned_cached_tokens": 0.0, "reported_cached_tokens": 0.0, "ok": True}  # fmt: skip
    return pd.DataFrame([{**base, "request_index": i, "started_at_s": float(i), **row} for i, row in enumerate(rows)])


SHARES_20 = {"shares_prefix_with": 0.0, "planned_cached_tokens": 20.0}


def test_blocks_are_shared_as_the_plan_says() -> None:
    found = chains(frame([{}, SHARES_20, {"prompt_tokens": 25.0, "output_tokens": 7.0}]), 10)
    assert found == {("s", 0): [0, 1, 2, 3], ("s", 1): [0, 1, 4, 5], ("s", 2): [6, 7, 8]}  # 25 + 7 - 1 tokens are 3 blocks


def test_least_recently_used_by_hand() -> None:
    """A and B share two blocks, C shares nothing; then A again, of whose own last blocks a cache of 6 has dropped both."""
    records = frame([{}, SHARES_20, {"prompt_tokens": 21.0}, {"request_index": 0, "round": 2, "started_at_s": 9.0}])
    blocks = chains(records, 10)
    assert lru_tokens(records, blocks, 1000, 10).to_dict("list") == {
        "ideal_tokens": [0, 20, 0, 40],
        "evicted_tokens": [0, 0, 0, 0],
    }
    # 60 tokens: A's blocks 2, 3 go for C's two, then B's last two for A's 2, 3
    assert lru_tokens(records, blocks, 60, 10).to_dict("list") == {
        "ideal_tokens": [0, 20, 0, 20],
        "evicted_tokens": [0, 0, 20, 20],
    }
    assert lru_tokens(records, blocks, 20, 10)["ideal_tokens"].tolist() == [0, 20, 0, 0]  # C took all


def test_the_last_token_is_never_served() -> None:
    records = frame([{"prompt_tokens": 40.0}, {"prompt_tokens": 40.0, "request_index": 0, "round": 2, "started_at_s": 1.0}])
    assert lru_tokens(records, chains(records, 10), 1000, 10)["ideal_tokens"].tolist() == [0, 30]


def test_order_is_that_of_time_not_of_the_file() -> None:
    records = frame([{"started_at_s": 5.0}, {**SHARES_20, "started_at_s": 1.0}])
    assert lru_tokens(records, chains(records, 10), 1000, 10)["ideal_tokens"].to_dict() == {1: 0, 0: 20}


def test_over_time_and_its_table() -> None:
    records = frame([{}, {**SHARES_20, "reported_cached_tokens": 10.0}, {"request_index": 0, "round": 2, "started_at_s": 2.0,
                     "planned_cached_tokens": 40.0, "reported_cached_tokens": 20.0}])  # fmt: skip
    table, why = over_time(records, 10, {"gpu": 60}, arms=False)
    assert why is None
    assert table.groupby("cache")["ideal_tokens"].sum().to_dict() == {ENDLESS: 60, "gpu": 60}
    assert table.groupby("cache")["served_tokens"].sum().to_dict() == {ENDLESS: 30, "gpu": 30}
    stats = {"cache_over_time": table.to_dict("records")}
    view = ideal_table(stats, "s")
    assert view is not None
    assert view.rows[0] == ("hit rate achieved", "12.2 %", "48.8 %")  # 10 of 82 tokens, 20 of 41
    assert view.rows[-2:] == (
        ("achieved / LRU of the GPU tier's 60 tokens", "50.0 %", "50.0 %"),
        ("tokens dropped by LRU of the GPU tier's 60 tokens", "0", "0"),
    )
    points = rate_points(stats, "s")
    assert points[points["label"].eq("achieved")]["y"].round(1).tolist() == [0.0, 24.4, 48.8]


def test_what_cannot_be_said_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for hole in ("reported_cached_tokens", "prompt_tokens"):
        table, why = over_time(frame([{hole: NAN}]), 10, {"gpu": 60}, arms=False)
        assert table.empty
        assert "no cached tokens were reported" in str(why)
    two = frame([{}, SHARES_20])
    monkeypatch.setattr(ideal_caches, "MAX_TOUCHES", 5)  # these two requests have 8 blocks
    for sizes, arms, told in (({"gpu": 60}, True, "--arms"), ({}, False, "no tier's size"), ({"gpu": 60}, False, "8 blocks")):
        table, why = over_time(two, 10, sizes, arms)
        assert set(table["cache"]) == {ENDLESS}
        assert told in str(why)
        stats = {"cache_over_time": table.to_dict("records"), "cache_over_time_note": why}
        assert ideal_table(stats, "s") is None
        assert told in str(why_no_tiers(stats))


@pytest.mark.parametrize("capacity", [42_000, 46_000, 50_000])
def test_the_emulators_own_cache_serves_what_lru_says(tmp_path: Path, capacity: int) -> None:
    """Two independent models of LRU; the emulator also needs room for the request that runs, at most one block's worth of hits."""
    requests = run(Truth(6000, capacity_tokens=capacity), tmp_path).requests
    ideal = lru_tokens(requests, chains(requests, BLOCK), capacity, BLOCK)["ideal_tokens"]
    served = requests["reported_cached_tokens"]
    assert served.sum() > 0
    assert capacity == 50_000 or served.sum() < requests["planned_cached_tokens"].sum()  # 47,000 tokens are in use
    assert (ideal - served).between(0, BLOCK).all()
