"""Splits by hand: what the points give, what the stages give, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locust_kvcache.analysis.model.ratio import (
    Budget,
    Estimate,
    Prediction,
    best_of,
    neighbours,
    predict_servers,
    predict_splits,
    stage_rates,
)
from locust_kvcache.analysis.model.stage_costs import Measured, Mix, costs_of, decode_curve, hand_off_s, limits_of
from locust_kvcache.analysis.model.stage_points import Point
from locust_kvcache.analysis.model.tandem import Load, Split
from locust_kvcache.contract.errors import BadInput

MIX = Mix(2000, 50)


def prefill(seconds: float, users: float = 1, tokens: float = 2000, **more: Any) -> Point:
    """Requests that each take `seconds` of a server's time; with several users they wait for one another."""
    ten = np.ones(10)
    return Point(
        **{
            "run": f"p{users:g}", "scenario": "s", "round": 1, "prompt_tokens": tokens, "computed_tokens": tokens, "output_tokens": 1,
            "in_flight": users, "ttft_s": ten * seconds * users, "prefill_share_s": ten * seconds, "decoding": ten[:0],
            "tpot_s": ten[:0], "e2e_s": ten * seconds * users, "requests_per_s": 1 / seconds, **more,
        }
    )  # fmt: skip


def decode(batch: float, token_s: float, **more: Any) -> Point:
    ten = np.ones(10)
    values = {
        "decoding": ten * batch,
        "tpot_s": ten * token_s,
        "output_tokens": 50.0,
        "computed_tokens": 16,
        "run": f"d{batch:g}",
    }
    return prefill(0.01, batch, **{"tokens": 2000, **values, **more})


MEASURED = Measured(prefill=(prefill(0.5),), decode=(decode(1, 0.01), decode(8, 0.02)), hand_off_s=0.1, step_tokens=2000)


def test_costs_by_hand() -> None:
    found = costs_of(MEASURED, MIX)
    assert (found.prefill_s.mean(), found.delay_s, found.output_tokens) == (0.5, 0.1, 50)
    assert (found.token(1), found.token(4.5), found.token(8), found.token(99)) == pytest.approx((0.01, 0.015, 0.02, 0.02))


def test_stage_rates_by_hand() -> None:
    """2 prefillers of 0.5 s: 4 requests/s. A decoder does 8 tokens in 0.02 s, 400 tokens/s: 8 requests/s of 50 tokens."""
    assert stage_rates(Split(2, 3), costs_of(MEASURED, MIX)) == pytest.approx((4.0, 24.0))


def test_what_a_full_prefiller_saves_beside_its_delay() -> None:
    """Alone 0.6 s, but four users get 2 a second: 0.5 s of work and 0.1 s beside it."""
    busy = prefill(0.5, users=4)
    found = costs_of(Measured((prefill(0.6), busy), MEASURED.decode, hand_off_s=0.0), MIX)
    assert (found.prefill_s.mean(), found.delay_s) == pytest.approx((0.5, 0.1))


def test_between_two_lengths_a_straight_line_and_beyond_them_nothing() -> None:
    two = Measured((prefill(0.5), prefill(0.1, tokens=100, prompt_tokens=2000)), MEASURED.decode, hand_off_s=0.0)
    assert costs_of(two, Mix(2000, 50, hit_rate=0.5)).prefill_s.mean() == pytest.approx(0.1 + 0.4 * 900 / 1900)
    with pytest.raises(
        BadInput, match="leaves 4,000 tokens to compute; the prefill runs measured 100 to 2,000: add a --prefill run"
    ):
        costs_of(two, Mix(4000, 50))
    with pytest.raises(BadInput, match=r"hit-rate 0\.5"):
        costs_of(MEASURED, Mix(2000, 50, hit_rate=0.5))


def test_the_hand_off_is_what_a_pair_takes_beyond_prefill_and_token() -> None:
    pair = prefill(0.75, decoding=np.ones(10), tpot_s=np.ones(10) * 0.01, run="pd", output_tokens=50.0)
    measured = Measured(MEASURED.prefill, MEASURED.decode, (pair,))
    assert hand_off_s(measured, 0.01) == pytest.approx(0.75 - 0.5 - 0.01)
    assert "KV transfer was not measured" in " ".join(limits_of(Measured(MEASURED.prefill, MEASURED.decode), MIX))
    alone = costs_of(Measured(pair=(pair,)), MIX)  # one user only: prefill and hand-off cannot be told apart
    assert alone.prefill_s.mean() + alone.delay_s == pytest.approx(0.74)


def test_a_pairs_prefill_is_what_its_prefiller_counted() -> None:
    pair = prefill(0.75, decoding=np.ones(10), tpot_s=np.ones(10) * 0.01, counted_prefill_s=0.5, output_tokens=50.0)
    found = costs_of(Measured(pair=(pair,)), MIX)
    assert (found.prefill_s.mean(), found.delay_s) == pytest.approx((0.5, 0.24))


def test_close_batches_are_one_point_of_the_curve_and_cold_rounds_are_left_for_hits() -> None:
    batch, token_s = decode_curve((decode(8, 0.02), decode(8.1, 0.03), decode(1, 0.01)))
    assert (list(batch), list(token_s)) == (pytest.approx([1, 8.05]), pytest.approx([0.01, 0.025]))
    cold, hit = decode(8, 0.09, computed_tokens=2000, round=1), decode(8, 0.02, round=2)
    assert Measured(decode=(cold, hit)).decode_points == (hit,)
    assert "decodes beside cold prefills" in " ".join(limits_of(Measured(MEASURED.prefill, (cold,)), MIX))


def test_few_tokens_to_compute_need_a_prefill_run_of_several_users() -> None:
    hits = Mix(2000, 50, hit_rate=0.99)
    alone = prefill(0.05, tokens=20, prompt_tokens=2000)
    assert "as if they came one by one" in " ".join(limits_of(Measured((alone,), MEASURED.decode), hits))
    both = (alone, prefill(0.01, users=4, tokens=20, prompt_tokens=2000))
    assert "as if they came one by one" not in " ".join(limits_of(Measured(both, MEASURED.decode), hits))


def test_splits_of_a_budget() -> None:
    assert [(split.name, used) for split, used in Budget(4).splits()] == [("1P3D", 4), ("2P2D", 4), ("3P1D", 4)]
    assert [(split.name, used) for split, used in Budget(8, 1, 2).splits()] == [
        ("1P3D", 7), ("2P3D", 8), ("3P2D", 7), ("4P2D", 8), ("5P1D", 7), ("6P1D", 8),
    ]  # fmt: skip


def test_the_slowest_stage_gives_the_throughput() -> None:
    """12 users: 1P3D is bound by its prefiller, 2 requests/s; 3P1D by what a decoder of at most 12 requests would give."""
    measured = Measured(MEASURED.prefill, (decode(1, 0.01), decode(12, 0.1)), hand_off_s=0.0)
    found = {one.name: one for one in predict_splits(Budget(4), MIX, Load(400, users=12), measured, resamples=20)}
    bound = found["1P3D"].figures["requests_per_s"]
    assert bound.value == pytest.approx(2.0, rel=0.02)
    assert bound.low is not None
    assert bound.high is not None
    assert bound.low <= bound.high
    assert found["1P3D"].prefill_busy == pytest.approx(1.0, abs=0.02)
    assert found["3P1D"].decode_per_s == pytest.approx(12 / (0.1 * 50))
    assert found["3P1D"].figures["requests_per_s"].value < 12 / (0.1 * 50)
    assert best_of(list(found.values())) is found["2P2D"]
    assert [one.name for one in neighbours(found["2P2D"], list(found.values()))] == ["1P3D", "2P2D", "3P1D"]


def test_a_larger_batch_than_was_measured_is_not_predicted() -> None:
    found = predict_splits(Budget(3), Mix(2000, 400), Load(100, users=40), MEASURED, resamples=3)
    assert [bool(one.figures) for one in found] == [True, False]  # 1P2D: its prefiller lets no more than 8 through
    assert "measured up to 8: add a --decode run" in str(found[1].why_not)
    assert best_of(found) is found[0]


def figures(**values: float) -> dict[str, Estimate]:
    return {name: Estimate(value) for name, value in values.items()}


def test_limits_keep_a_slow_first_token_out() -> None:
    quick = Prediction("a", 2, figures(ttft_ms=100, e2e_ms=900))
    slow = Prediction("b", 2, figures(ttft_ms=300, e2e_ms=500))
    assert best_of([quick, slow]) is slow
    assert best_of([quick, slow], {"ttft_ms": 200}) is quick
    assert best_of([quick, slow], {"ttft_ms": 50}) is None


def test_replicas_are_read_between_the_measured_loads_of_one() -> None:
    """4 servers of one GPU under 16 users have 4 each; between 2 and 6 users the rate of one grows from 1 to 3."""
    points = [decode(users, 0.01, computed_tokens=2000, requests_per_s=users / 2) for users in (2.0, 6.0)]
    found = predict_servers("single", 1, Budget(4), MIX, Load(100, users=16), points, resamples=5)
    assert (found.name, found.figures["requests_per_s"].value) == ("4 x single", pytest.approx(8.0))
    at_a_rate = predict_servers("single", 1, Budget(4), MIX, Load(100, rate_per_s=8.0), points, resamples=5)
    assert at_a_rate.figures["requests_per_s"].value == pytest.approx(8.0)
    why = [
        predict_servers("single", 1, Budget(4), MIX, Load(100, users=160), points).why_not,
        predict_servers("single", 1, Budget(4), Mix(2000, 500), Load(100, users=16), points).why_not,
        predict_servers("tp8", 8, Budget(4), MIX, Load(100, users=16), points).why_not,
    ]
    assert "each would have 40.0 users; measured 2.00 to 6.00" in str(why[0])
    assert "not measured at this mix" in str(why[1])
    assert "one takes 8 GPUs, there are 4" in str(why[2])
