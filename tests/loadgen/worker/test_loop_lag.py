"""The worst delay of the loop since a moment: what lies after it, and no more."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locust_kvcache.loadgen.worker.loop_lag import LagMonitor


def monitor(*samples: tuple[float, float]) -> LagMonitor:
    found = LagMonitor()
    for at_s, lag_ms in samples:
        found.add(at_s, lag_ms)
    return found


def test_the_largest_delay_since_a_moment() -> None:
    found = monitor((1.0, 30.0), (2.0, 5.0), (3.0, 8.0), (4.0, 2.0))
    assert found.worst_since_ms(0.5) == 30.0
    assert found.worst_since_ms(1.5) == 8.0
    assert found.worst_since_ms(3.5) == 2.0
    assert found.worst_since_ms(4.5) is None


def test_a_delay_that_had_begun_before_counts_for_what_came_after() -> None:
    """60 ms from 0.940 to 1.000 s; a request that was sent at 0.990 s met 10 ms of them."""
    assert monitor((1.0, 60.0)).worst_since_ms(0.99) == pytest.approx(10.0)
    assert monitor((1.0, 60.0), (1.5, 25.0)).worst_since_ms(0.99) == 25.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 500)), max_size=30), st.floats(0, 10))
def test_as_every_sample_by_itself_says(samples: list[tuple[float, float]], since_s: float) -> None:
    ordered = sorted(samples)
    each = [min(lag_ms, (at_s - since_s) * 1000) for at_s, lag_ms in ordered if at_s >= since_s]
    found = monitor(*ordered).worst_since_ms(since_s)
    assert found == (pytest.approx(max(each)) if each else None)
