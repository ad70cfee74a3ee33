"""The client's certificate: read by the worker, compared with the load of each round."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import socket
from pathlib import Path

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
    assert "12,000 chunks/s, its certificate covers 9,000; use more workers (--processes)" in (warning or "")
    assert limits_of_round([answer(100, 9000)])[0]["client_limited"] is False
    assert limits_of_round([answer(100, 9000), answer(100, None)])[0]["client_limited"] is None  # not known is not fine
