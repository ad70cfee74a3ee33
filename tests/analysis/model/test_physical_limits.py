"""The physical limits against hand-computed cases of Qwen2.5-72B."""

from __future__ import annotations

import pytest

from locust_kvcache.analysis.model import physical_limits

KV_72B = 2 * 80 * 8 * 128 * 2  # bytes per token in bf16
PARAMETERS_72B, ATTENTION_72B = 70.2e9, 4 * 80 * 64 * 128


@pytest.mark.parametrize(("prompt", "tera_flop"), [(2048, 293), (9728, 1490), (32768, 6009), (131072, 40924)])
def test_prefill_flop(prompt: int, tera_flop: float) -> None:
    assert physical_limits.prefill_flop(prompt, 0, PARAMETERS_72B, ATTENTION_72B) / 1e12 == pytest.approx(tera_flop, rel=0.005)


@pytest.mark.parametrize(
    ("bandwidth_gb", "hit_rate", "serial", "overlapped"),
    [(12.5, 0.5, 14, 48), (12.5, 1.0, 32, 32), (25, 0.9, 58, 70), (50, 1.0, 83, 83), (1.25, 0.9, -517, -506)],
)
def test_largest_reduction_on_eight_h100(bandwidth_gb: float, hit_rate: float, serial: int, overlapped: int) -> None:
    """9,728 tokens at half of 8 x 989 TFLOP/s: per cent, whole."""
    speed, prompt = 8 * 989e12 * 0.5, 9728
    cached = hit_rate * prompt
    cold_s = physical_limits.prefill_flop(prompt, 0, PARAMETERS_72B, ATTENTION_72B) / speed
    compute_s = physical_limits.prefill_flop(prompt, cached, PARAMETERS_72B, ATTENTION_72B) / speed
    load_s = KV_72B * cached / (bandwidth_gb * 1e9)
    assert 100 * physical_limits.largest_reduction(compute_s, cold_s, load_s) == pytest.approx(serial, abs=1.1, rel=0.01)
    assert 100 * physical_limits.largest_reduction(compute_s, cold_s, load_s, overlapped=True) == pytest.approx(
        overlapped, abs=1.1, rel=0.01
    )


def test_break_even_bandwidth() -> None:
    assert physical_limits.break_even_bandwidth(KV_72B, 25_800) / 1e9 == pytest.approx(8.5, abs=0.05)


def test_break_even_prefix() -> None:
    assert physical_limits.break_even_prefix(2.0, 1.0, 0.0) == 0.0
    assert physical_limits.break_even_prefix(1.0, 2.0, 0.0) is None
    # 1 p + 0.001 p^2 / 2 = 2 p at p = 2,000
    assert physical_limits.break_even_prefix(1.0, 2.0, 0.001) == pytest.approx(2000)
