"""Quantiles lie within the sample, and interpolate as numpy does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.contract.quantile import quantile


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_lie_within_the_sample(values: list[float], q: float) -> None:
    assert min(values) <= quantile(values, q) <= max(values) * (1 + 1e-9)


def test_quantile_interpolates_as_numpy_does() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 2.5
    assert quantile([10, 20, 30, 40, 50], 0.9) == pytest.approx(46)
