"""What the collector counts while it writes."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.contract.record import Record
from locust_kvcache.loadgen.run.records_file import Collector


def record(index: int, status: str, error: str | None) -> Record:
    return Record("run", "d", "m", "s", 1, index, index, 1, "w1", status=status, error=error)


def test_why_requests_failed_is_counted_as_records_arrive(tmp_path: Path) -> None:
    records = [
        record(0, "ok", None),
        record(1, "http_error", 'HTTP 400: {"error": {"message": "no such adapter"}}'),
        record(2, "http_error", 'HTTP 400: {"error": {"message": "no such adapter"}}'),
        record(3, "timeout", "no complete response within 2 s"),
    ]
    collector = Collector(tmp_path / "records.jsonl")
    collector.add([entry.to_json() for entry in records], [["s", 1, entry.request_index, entry.status] for entry in records])
    collector.close()
    assert collector.causes() == {"400 no such adapter": 2, "timeout": 1}
    resumed = Collector(tmp_path / "records.jsonl", [["s", 1, entry.request_index, entry.status] for entry in records])
    resumed.close()
    assert resumed.causes() == {"http_error": 2, "timeout": 1}
