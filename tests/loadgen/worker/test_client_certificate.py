"""The client's certificate: read by the worker, compared with the load of each round; and the lag rule of a record."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import socket
from pathlib import Path

import pytest

from locust_kvcache.contract.record import client_was_limited
from locust_kvcache.loadgen.protocol.messages import Done
from locust_kvcache.loadgen.run.beyond_certificate import limits_of_round
from locust_kvcache.loadgen.worker.client_certificate import certified_chunks_per_s


def test_only_a_certificate_of_this_host_counts(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    assert certified_chunks_per_s(path) is None
    for host, expected in ((socket.gethostname(), 9000.0), ("elsewhere", None)):
        path.write_text(json.dumps({"format": 1, "host": host, "certified_chunks_per_s": 9000}))
        assert certified_chunks_per_s(path) == expected
    path.write_text("{")
    assert certified_chunks_per_s(path) is None


def answer(rate: float, limit: float | None) -> Done:
    return Done(
        "r",
        "s",
        1,
        wall_s=1.0,
        started_at_s=0.0,
        chunks_per_s=rate,
        certified_chunks_per_s=limit,
        starved_s=0.0,
        foreign_requests={},
    )


def test_a_round_beyond_a_certificate_is_client_limited() -> None:
    facts, warning = limits_of_round([answer(100, 9000), answer(12_000, 9000)])
    assert facts["client_limited"] is True
    assert "12,000 chunks/s, its certificate stands for 9,000; use more workers (--processes)" in (warning or "")
    assert limits_of_round([answer(100, 9000)])[0]["client_limited"] is False
    assert limits_of_round([answer(100, 9000), answer(100, None)])[0]["client_limited"] is None  # not known is not fine


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
