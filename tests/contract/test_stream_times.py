"""The formulas of docs/metrics.md on streams small enough to check by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.clumps import was_buffered
from locust_kvcache.contract.stream_times import OutputChunk, inter_token_ms, stream_timing, tpot_ms


def chunks(*at_s: float, tokens: int | None = None) -> list[OutputChunk]:
    return [OutputChunk(at, True, tokens) for at in at_s]


def test_times_of_a_plain_stream() -> None:
    timing = stream_timing(10.0, 10.05, 10.08, chunks(10.2, 10.3, 10.5), output_tokens=3)
    assert timing.ttfb_ms == pytest.approx(50)
    assert timing.first_choice_ms == pytest.approx(80)  # the role-only chunk, where vLLM's own benchmark stops its TTFT
    assert timing.ttft_ms == pytest.approx(200)
    assert timing.e2e_ms == pytest.approx(500)
    assert timing.tpot_ms == pytest.approx((500 - 200) / 2)
    assert timing.itl_p50_ms == pytest.approx(150)


def test_a_first_chunk_of_several_tokens_is_not_counted_in_tpot() -> None:
    stream = [OutputChunk(0.1, True, 4), OutputChunk(0.3, True, 2), OutputChunk(0.5, True, 2)]
    timing = stream_timing(0.0, 0.1, 0.1, stream, output_tokens=8)
    assert timing.tpot_ms == pytest.approx((500 - 100) / (8 - 4))
    assert timing.itl_p50_ms == pytest.approx(100)  # gaps of 200 ms, two tokens each
    assert timing.icl_p50_ms == pytest.approx(200)


def test_unknown_tokens_per_chunk_leave_itl_undefined_but_not_the_gaps() -> None:
    timing = stream_timing(0.0, 0.1, 0.1, chunks(0.1, 0.2), output_tokens=7)
    assert timing.itl_p50_ms is None
    assert timing.icl_p50_ms == pytest.approx(100)
    assert timing.tpot_ms == pytest.approx(100 / 6)


def test_no_output_has_no_times_but_the_first_byte() -> None:
    timing = stream_timing(0.0, 0.1, None, [], output_tokens=None)
    assert (timing.ttfb_ms, timing.ttft_ms, timing.e2e_ms, timing.tpot_ms) == (100, None, None, None)


def test_one_token_has_no_tpot_and_no_gaps() -> None:
    timing = stream_timing(0.0, 0.1, 0.1, chunks(0.1), output_tokens=1)
    assert (timing.tpot_ms, timing.itl_p50_ms, timing.icl_p50_ms) == (None, None, None)


def test_first_visible_token_comes_after_reasoning() -> None:
    stream = [OutputChunk(0.1, False), OutputChunk(0.2, False), OutputChunk(0.9, True)]
    timing = stream_timing(0.0, 0.1, 0.1, stream, output_tokens=3)
    assert (timing.ttft_ms, timing.ttfvt_ms) == (pytest.approx(100), pytest.approx(900))


def test_tpot_without_a_later_token_is_undefined() -> None:
    assert tpot_ms(100, 100, 3, 3) is None


@given(st.lists(st.tuples(st.floats(0.001, 1e4), st.integers(1, 9)), min_size=1, max_size=30))
def test_inter_token_times_add_up_to_the_gaps(pairs: list[tuple[float, int]]) -> None:
    gaps, tokens = [gap for gap, _ in pairs], [n for _, n in pairs]
    itl = inter_token_ms(gaps, tokens)
    assert len(itl) == sum(tokens)
    assert sum(itl) == pytest.approx(sum(gaps))


def test_chunks_that_came_all_at_once_say_nothing_of_the_time_between_tokens() -> None:
    for stream in (
        chunks(*[0.5] * 12),
        chunks(*[0.5 + n * 2e-5 for n in range(12)]),
        chunks(0.5),
    ):  # a proxy, over segments, one chunk
        timing = stream_timing(0.0, 0.5, 0.5, stream, output_tokens=12)
        assert (timing.tpot_ms, timing.itl_p50_ms, timing.itl_p99_ms, timing.icl_p50_ms, timing.icl_p99_ms) == (None,) * 5
        assert timing.clump_gap_ms == pytest.approx(500)
        assert was_buffered(timing.clump_gap_ms, loop_lag_ms=2.0)


def test_chunks_in_clumps_are_recognised() -> None:
    clumps = chunks(*[at for at in (0.5, 0.7, 0.9) for _ in range(8)])
    timing = stream_timing(0.0, 0.5, 0.5, clumps, output_tokens=24)
    assert (timing.tpot_ms, timing.itl_p50_ms, timing.clump_gap_ms) == (None, None, pytest.approx(200))
    assert was_buffered(timing.clump_gap_ms, None)
    assert not was_buffered(timing.clump_gap_ms, loop_lag_ms=180)  # so late a loop makes clumps itself


def test_short_bursts_are_the_servers_own_and_no_clumps() -> None:
    bursts = chunks(*[at for at in (0.100, 0.104, 0.108) for _ in range(8)])
    timing = stream_timing(0.0, 0.1, 0.1, bursts, output_tokens=24)
    assert timing.clump_gap_ms is None
    assert timing.tpot_ms == pytest.approx(8 / 23)


def test_several_tokens_in_each_chunk_are_no_clumps() -> None:
    """Speculative decoding, or vLLM's --stream-interval: the model's steps are seen one by one."""
    timing = stream_timing(0.0, 0.1, 0.1, [OutputChunk(0.1 * n, True, 4) for n in range(1, 9)], output_tokens=32)
    assert timing.clump_gap_ms is None
    assert timing.tpot_ms == pytest.approx(700 / 28)
    pairs = stream_timing(0.0, 0.1, 0.1, chunks(0.1, 0.1, 0.2, 0.2, 0.3, 0.3), output_tokens=6)  # two to a segment happens
    assert pairs.clump_gap_ms is None
