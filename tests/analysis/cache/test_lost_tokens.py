"""Where cached tokens went, by hand: every cause once."""

from __future__ import annotations

import math

import pandas as pd

from locust_kvcache.analysis.cache.lost_tokens import CAUSES, account, granularity
from locust_kvcache.analysis.cache.prefixes import roots

NAN = math.nan


def frame(rows: list[dict]) -> pd.DataFrame:
    base = {"scenario": "s", "round": 1, "shares_prefix_with": NAN, "prompt_tokens": 1000.0, "planned_cached_tokens": 0.0,
            "reported_cached_tokens": 0.0, "ok": True, "window": "cold"}  # fmt: skip
    rows = [{**base, "request_index": i, "started_at_s": float(i), **row} for i, row in enumerate(rows)]
    return pd.DataFrame(rows)


def losses(rows: list[dict], number: int = 1) -> dict[str, float]:
    table = account(frame(rows), 16)
    row = table[table["round"].eq(number)].iloc[0]
    return {cause: row[f"lost_{cause}"] for cause in CAUSES if row[f"lost_{cause}"]}


SHARES = {"shares_prefix_with": 0.0, "planned_cached_tokens": 800.0}


def test_nothing_lost() -> None:
    assert losses([{}, {**SHARES, "reported_cached_tokens": 800.0}]) == {}


def test_racing() -> None:
    assert losses([{}, {**SHARES, "window": "racing"}, {**SHARES, "window": "racing", "reported_cached_tokens": 800.0}]) == {
        "racing": 800
    }


def test_not_stored_and_evicted() -> None:
    assert losses([{}, SHARES, SHARES]) == {"not_stored": 1600}
    assert losses([{}, {**SHARES, "reported_cached_tokens": 800.0}, SHARES]) == {"evicted": 800}
    # a part of what an earlier request was served is gone
    assert losses([{}, {**SHARES, "reported_cached_tokens": 800.0}, {**SHARES, "reported_cached_tokens": 480.0}]) == {
        "evicted": 320
    }


def test_only_a_part_was_ever_served() -> None:
    assert losses([{}, {**SHARES, "reported_cached_tokens": 480.0}]) == {"other": 320}


def test_granularity_of_a_coarser_cache() -> None:
    amounts = [256.0, 512.0, 768.0]
    rows = [{}] + [{**SHARES, "planned_cached_tokens": amount + 208, "reported_cached_tokens": amount} for amount in amounts * 3]
    assert granularity(pd.Series(amounts * 3), 16) == 256
    assert losses(rows) == {"granularity": 9 * 208}
    assert granularity(pd.Series([256.0, 512.0]), 16) == 16  # too few to tell


def test_more_than_planned() -> None:
    table = account(frame([{"reported_cached_tokens": 96.0}]), 16)
    assert table.iloc[0][["planned", "reported", "beyond_plan"]].tolist() == [0, 96, 96]


def test_what_has_no_evidence_is_left_out() -> None:
    assert account(frame([{"reported_cached_tokens": NAN}]), 16).empty


def test_prefix_groups_follow_the_chain() -> None:
    rows = frame([{}, {"shares_prefix_with": 0.0}, {"shares_prefix_with": 1.0}, {}, {"shares_prefix_with": 3.0}])
    assert roots(rows).tolist() == [0, 0, 0, 3, 3]
    loop = frame([{"shares_prefix_with": 1.0}, {"shares_prefix_with": 0.0}])
    assert len(roots(loop)) == 2  # nonsense must not hang
