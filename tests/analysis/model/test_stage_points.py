"""What a phase costs, from requests whose overlap can be counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locust_kvcache.analysis.model.stage_points import Counted, by_length, phase, points_of


def records(
    *rows: tuple[float, float, float], prompt: float = 1000, output: float = 11, cached: float | None = 0
) -> pd.DataFrame:
    """(start, TTFT, E2E) in seconds."""
    return pd.DataFrame(
        [
            {"scenario": "s", "round": 1, "ok": True, "started_at_s": 1.7e9 + start, "ttft_ms": 1000 * ttft, "e2e_ms": 1000 * e2e,
             "prompt_tokens": prompt, "output_tokens": output, "reported_cached_tokens": cached}
            for start, ttft, e2e in rows
        ]
    )  # fmt: skip


def test_overlap_by_hand() -> None:
    """0 to 2 and 1 to 4: one second alone, one together, two alone."""
    share, mean = phase(np.array([0.0, 1.0]), np.array([2.0, 4.0]))
    assert share == pytest.approx([1.5, 2.5])  # together the four seconds in which somebody was there
    assert mean == pytest.approx([1.5, 4 / 3])


def test_equal_times_and_gaps() -> None:
    share, mean = phase(np.array([0.0, 0.0, 5.0]), np.array([2.0, 2.0, 6.0]))
    assert share == pytest.approx([1, 1, 1])
    assert mean == pytest.approx([2, 2, 1])


def test_a_saturated_prefiller_gives_its_throughput() -> None:
    """Two users at a server of 1 s a prompt: each waits for the other, TTFT 2 s, and a request costs 1 s."""
    (point,) = points_of("run", records(*((float(number), 2.0, 2.0) for number in range(20)), output=1))
    assert point.prefill_share_s[1:-1].mean() == pytest.approx(1.0)
    assert point.in_flight == pytest.approx(2.0, rel=0.06)
    assert len(point.tpot_s) == 0
    assert point.requests_per_s == pytest.approx(20 / 21)


def test_decoding_at_once() -> None:
    """Ten tokens in 1 s after the first; the second request decodes beside the first for half of the time."""
    (point,) = points_of("run", records((0.0, 1.0, 2.0), (0.5, 1.0, 2.0)))
    assert point.tpot_s == pytest.approx([0.1, 0.1])
    assert point.decoding == pytest.approx([1.5, 1.5])
    assert (point.prompt_tokens, point.computed_tokens, point.output_tokens) == (1000, 1000, 11)


def test_unknown_cached_tokens_are_none_in_a_cold_round_and_leave_a_later_round_out() -> None:
    found = records((0.0, 1.0, 2.0), cached=None)
    assert points_of("run", found)[0].computed_tokens == 1000
    assert points_of("run", found.assign(round=2)) == []
    assert points_of("run", found.assign(ok=False)) == []


def test_points_of_one_length_go_together() -> None:
    many = [points_of(name, records(*((0.0, 1.0, 2.0),) * users, prompt=prompt))[0]
            for name, users, prompt in (("b", 2, 1050), ("a", 1, 1000), ("c", 1, 2000), ("d", 1, 20))]  # fmt: skip
    assert [[point.run for point in group] for group in by_length(many)] == [["d"], ["a", "b"], ["c"]]
    assert [point.alone for point in many] == [False, True, True, True]


def test_of_a_pair_the_prefiller_tells_what_was_computed() -> None:
    """The decoder reports the whole prompt as cached: it was handed over."""
    found = records((0.0, 1.0, 2.0), cached=1000)
    key = ("s", 1)
    assert points_of("pd", found, is_pd=True)[0].computed_tokens == 1000  # cold, and nobody counted
    (hit,) = points_of("pd", found, {key: Counted(0.01, 16.0)}, is_pd=True)
    assert (hit.computed_tokens, hit.counted_prefill_s) == (16.0, 0.01)
    assert points_of("pd", found.assign(round=2), is_pd=True) == []
