"""The formulas of docs/metrics.md on streams small enough to check by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.record import FIELDS, OutputChunk, Record, inter_token_ms, quantile, stream_timing, tpot_ms


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
