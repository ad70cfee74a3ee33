"""Other tools' formulas on one stream: role chunk at 50 ms, five tokens from 100 to 500 ms."""

from __future__ import annotations

import dataclasses

import pytest

from scenarios import variants
from scenarios.record import Record

RECORD = Record(
    "run", "d", "m", "s", 1, 0, 0, 1, "w", output_tokens=5, first_choice_ms=50.0, ttft_ms=100.0, e2e_ms=500.0, tpot_ms=100.0
)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (variants.vllm_bench_ttft_ms, 50),
        (variants.vllm_bench_tpot_ms, 450 / 4),
        (variants.aiperf_itl_ms, 400 / 4),
        (variants.guidellm_tpot_ms, 500 / 5),
        (variants.guidellm_itl_ms, 400 / 4),
        (variants.llm_bench_tpot_ms, 400 / 5),
    ],
)
def test_the_variants(formula: object, expected: float) -> None:
    assert formula(RECORD) == pytest.approx(expected)  # type: ignore[operator]
    nothing = dataclasses.replace(RECORD, output_tokens=None, first_choice_ms=None, ttft_ms=None, e2e_ms=None)
    assert formula(nothing) is None  # type: ignore[operator]
