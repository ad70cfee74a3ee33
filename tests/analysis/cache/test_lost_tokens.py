"""Where cached tokens went, by hand: every cause once."""

from __future__ import annotations

import math

import pandas as pd

from locust_kvcache.analysis.cache.cache_step import all_but_a_step, observed_step
from locust_kvcache.analysis.cache.lost_tokens import CAUSES, account
from locust_kvcache.analysis.cache.prefixes import roots, was_overtaken

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
    assert observed_step(pd.Series(amounts * 3), 16) == 256
    assert losses(rows) == {"granularity": 9 * 208}
    assert observed_step(pd.Series([256.0, 512.0]), 16) == 16  # too few to tell


def test_granularity_where_every_prompt_is_of_one_length() -> None:
    """Prompts of 4,056 tokens in blocks of 256: 3,840 come from the cache each time, and 208 never do."""
    hits = [{"request_index": i, "round": 2, "planned_cached_tokens": 4048.0, "reported_cached_tokens": 3840.0, "prompt_tokens": 4056.0}
            for i in range(10)]  # fmt: skip
    assert losses(hits, 2) == {"granularity": 10 * 208}
    assert observed_step(pd.Series([3840.0] * 10), 16, pd.Series([4048.0] * 10)) == 256
    assert observed_step(pd.Series([4048.0] * 10), 16, pd.Series([4048.0] * 10)) == 16
    # lengths that differ, and amounts that no step gives: evicted, or never stored, but no granularity
    assert observed_step(pd.Series([3840.0] * 10), 16, pd.Series([4048.0, 4400.0] * 5)) == 16


def test_a_request_that_overtook_the_one_that_was_to_bring_its_prefix() -> None:
    """By plan 0 brings the prefix and 1, 2 share it; by the clock 2 came first, then 0, then 1."""
    rows = [
        {"started_at_s": 1.0, "reported_cached_tokens": 800.0},
        {**SHARES, "started_at_s": 2.0, "reported_cached_tokens": 800.0},
        {**SHARES, "started_at_s": 0.0},
    ]
    assert was_overtaken(frame(rows)).tolist() == [False, False, True]
    assert losses(rows) == {"overtaken": 800}
    later = [{**row, "round": 2} for row in rows]
    assert not was_overtaken(frame(later)).any()  # all was sent in round 1: then it is evicted or not stored
    fresh = [{**row, "round": 2, "round_kind": "control"} for row in rows]
    assert was_overtaken(frame(fresh)).tolist() == [False, False, True]


def test_a_turn_that_follows_its_own_conversation_overtook_nobody() -> None:
    chain = [{}, {**SHARES}, {"shares_prefix_with": 1.0, "planned_cached_tokens": 900.0}, {"shares_prefix_with": 2.0}]
    assert not was_overtaken(frame(chain)).any()


def test_a_decoder_that_reports_all_whole_chunks_is_recognised_by_its_step() -> None:
    prompts = pd.Series([4056.0, 3000.0, 1500.0, 900.0])
    told = (prompts - 1) // 256 * 256
    assert all_but_a_step(told, prompts, 16, 0.8).all()
    assert not all_but_a_step(prompts * 0, prompts, 16, 0.8).any()
    assert not all_but_a_step(told - 128, prompts, 16, 0.8).all()


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


def test_a_prefix_on_another_engine_is_neither_evicted_nor_not_stored() -> None:
    a, b = {"engine": "a"}, {"engine": "b"}
    asked = [
        a,
        {**SHARES, **b},
        {**SHARES, **a, "reported_cached_tokens": 800.0},
        {**SHARES, **b, "reported_cached_tokens": 800.0},
    ]
    assert losses(asked) == {"other_engine": 800}
    assert losses([*asked, {**SHARES, **b}]) == {"other_engine": 800, "evicted": 800}
    # what a served says nothing of b, which met the prefix and kept nothing
    assert losses([a, {**SHARES, **b}, {**SHARES, **a, "reported_cached_tokens": 800.0}, {**SHARES, **b}]) == {
        "other_engine": 800,
        "not_stored": 800,
    }


def test_where_one_answer_does_not_name_its_engine_none_is_told_apart() -> None:
    assert losses([{"engine": "a"}, {**SHARES, "engine": "b"}, {**SHARES, "engine": None}]) == {"not_stored": 1600}
    assert losses([{"engine": ""}, {**SHARES, "engine": ""}]) == {"not_stored": 800}
