"""When a late client, or a time stamp that two chunks share, may have moved the times of a request."""

from __future__ import annotations

import pytest

from locust_kvcache.contract.late_stamps import client_was_limited, first_stamp_uncertain_ms
from locust_kvcache.contract.stream_times import OutputChunk


def chunks(*at_s: float, tokens: int | None = None) -> list[OutputChunk]:
    return [OutputChunk(at, True, tokens) for at in at_s]


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


@pytest.mark.parametrize(
    ("clock", "lag_ms", "ttft_ms", "icl_ms", "expected"),
    [
        ("kernel", 12.0, 50.0, 20.0, False),  # the kernel stamped in time, whenever the loop came
        ("kernel", 25.0, 50.0, 20.0, True),  # two chunks may have waited together
        ("process", 12.0, 50.0, 20.0, True),  # 12 ms in a TTFT of 50
        ("process", 12.0, 500.0, 20.0, False),
        ("process", 0.9, 5.0, 1.0, False),
        ("process", None, 5.0, 1.0, None),
        ("kernel", 5.0, None, None, None),
    ],
)
def test_when_a_late_loop_moves_a_record(
    clock: str, lag_ms: float | None, ttft_ms: float | None, icl_ms: float | None, expected: bool | None
) -> None:
    assert client_was_limited(clock, lag_ms, ttft_ms, icl_ms) is expected
