"""Due times of a timed round: those of a counted one, as many as there is time for."""

from __future__ import annotations

import pytest

from locust_kvcache.loadgen.protocol.arrivals import Arrival, due_times_s
from locust_kvcache.loadgen.protocol.timed import timed_due_s


@pytest.mark.parametrize("kind", ["constant", "poisson", "gamma"])
def test_as_many_as_there_is_time_for(kind: str) -> None:
    arrival = Arrival(kind, 10.0, 2.0)
    found = timed_due_s(arrival, 5.0, "key")
    assert found is not None
    assert found == due_times_s(arrival, len(found), "key")
    assert found[-1] < 5.0
    assert 30 <= len(found) <= 70


def test_a_closed_loop_has_none() -> None:
    assert timed_due_s(Arrival("closed", None, 1.0), 5.0, "key") is None
