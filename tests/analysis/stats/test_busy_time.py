"""The rate while all users were busy, and the load that a round ran at, on schedules that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.stats.busy_time import BLOCKS, block_rates, busy_table, in_flight, loads


def closed_loop(users: int, durations_s: list[float], number: int = 1) -> pd.DataFrame:
    """Requests of `durations_s`, each sent by the user that is free first."""
    free, rows = [0.0] * users, []
    for duration_s in durations_s:
        user = free.index(min(free))
        rows.append({"scenario": "s", "round": number, "started_at_s": free[user], "e2e_ms": 1000 * duration_s, "ok": True})
        free[user] += duration_s + 1e-4
    return pd.DataFrame(rows)


def test_one_straggler_does_not_move_the_rate_of_busy_users() -> None:
    """100 requests of 1 s by 8 users are 8 per s; the 50th takes 30 s: the round's own rate is about 100 / 36."""
    requests = closed_loop(8, [30.0 if i == 50 else 1.0 for i in range(100)])
    (row,) = busy_table(requests).to_dict("records")
    wall_s = (requests["started_at_s"] + requests["e2e_ms"] / 1000).max()
    assert 100 / wall_s == pytest.approx(2.77, abs=0.05)
    assert row["busy_requests_per_s"] == pytest.approx(7.4, abs=0.3)  # 7 users go on, the 8th is busy with the straggler
    assert row["busy_requests_per_s_low"] < row["busy_requests_per_s"] < row["busy_requests_per_s_high"]


def test_users_that_never_came_again_have_no_busy_rate() -> None:
    (row,) = busy_table(closed_loop(16, [1.0] * 24)).to_dict("records")
    assert row["in_flight_max"] == 16
    assert pd.isna(row["busy_requests_per_s"])


def test_in_flight_counts_an_end_before_a_start_at_the_same_moment() -> None:
    at, level = in_flight(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    assert at.tolist() == [0.0, 1.0, 1.0, 2.0]
    assert level.tolist() == [1, 0, 1, 0]


def test_a_request_counts_by_the_share_of_its_time() -> None:
    """One request from 0 to 2 s seen from 0 to 1 s: half a request in a second, alike in each block."""
    assert block_rates(np.array([0.0]), np.array([2.0]), 0.0, 1.0) == pytest.approx([0.5] * BLOCKS)


def test_a_round_with_half_of_the_users_is_seen() -> None:
    both = pd.concat([closed_loop(6, [1.0] * 24), closed_loop(3, [1.0] * 24, number=2)])
    assert loads(busy_table(both), {})["users"].tolist() == [6, 3]


def test_run_json_knows_better_and_a_level_that_was_not_held_is_no_load() -> None:
    busy = busy_table(closed_loop(6, [1.0] * 24))
    assert loads(busy, {("s", 1): 5})["users"].tolist() == [5]
    assert loads(busy.assign(at_max_share=0.3), {})["users"].isna().all()
