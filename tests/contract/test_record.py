"""The formulas of docs/metrics.md on streams small enough to check by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.record import (
    FIELDS,
    OutputChunk,
    Record,
    client_was_limited,
    first_stamp_uncertain_ms,
    inter_token_ms,
    quantile,
    stream_timing,
    tpot_ms,
    was_buffered,
)


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


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_lie_within_the_sample(values: list[float], q: float) -> None:
    assert min(values) <= quantile(values, q) <= max(values) * (1 + 1e-9)


def test_quantile_interpolates_as_numpy_does() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 2.5
    assert quantile([10, 20, 30, 40, 50], 0.9) == pytest.approx(46)


@given(st.lists(st.tuples(st.floats(0.001, 1e4), st.integers(1, 9)), min_size=1, max_size=30))
def test_inter_token_times_add_up_to_the_gaps(pairs: list[tuple[float, int]]) -> None:
    gaps, tokens = [gap for gap, _ in pairs], [n for _, n in pairs]
    itl = inter_token_ms(gaps, tokens)
    assert len(itl) == sum(tokens)
    assert sum(itl) == pytest.approx(sum(gaps))


def test_a_record_is_one_json_line_with_every_field() -> None:
    record = Record("run", "d", "m", "s", 1, 0, 0, 1, "w", error='line\nbreak "quoted"')
    line = record.to_json()
    assert "\n" not in line
    parsed = json.loads(line)
    assert tuple(parsed) == FIELDS
    assert parsed["ttft_ms"] is None
    assert parsed["error"] == record.error


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


def test_a_record_with_half_a_character_or_a_line_separator_is_one_line_that_can_be_written() -> None:
    line = Record("run", "d", "m", "s", 1, 0, 0, 1, "w", error="half \ud83d, \u2028 and \x85").to_json()
    assert json.loads(line.encode())["error"] == "half ?, \u2028 and \x85"
    assert "\n" not in line


def test_a_record_never_holds_what_json_cannot() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Record("run", "d", "m", "s", 1, 0, 0, 1, "w", ttft_ms=float("nan")).to_json()


def test_a_first_chunk_that_was_read_alone_has_its_own_stamp() -> None:
    assert first_stamp_uncertain_ms("kernel", chunks(1.0, 1.02), {1.0: 0.03}) == 0.0
    assert first_stamp_uncertain_ms("kernel", chunks(1.0), {1.0: 0.03}) == 0.0


def test_a_first_chunk_that_shares_a_stamp_may_have_come_since_all_was_read() -> None:
    assert first_stamp_uncertain_ms("kernel", chunks(1.0, 1.0, 1.02), {1.0: 0.03}) == 30.0
    assert first_stamp_uncertain_ms("kernel", chunks(1.0, 1.0), {}) is None
    assert first_stamp_uncertain_ms("process", chunks(1.0, 1.0), {1.0: 0.03}) is None


def test_an_uncertain_first_stamp_limits_a_record_where_it_matters() -> None:
    assert client_was_limited("kernel", 1.0, 200.0, 20.0, ttft_uncertain_ms=30.0) is True
    assert client_was_limited("kernel", 1.0, 200.0, 20.0, ttft_uncertain_ms=9.0) is False  # below 5 %
    assert client_was_limited("kernel", 1.0, 10.0, 20.0, ttft_uncertain_ms=0.9) is False  # below 1 ms
