"""In an open loop whose requests were sent late the target on the TTFT counts from the intended time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from tests.analysis.synthetic import Truth, make_records, write_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=8, turns=1)
OPEN = {"kind": "poisson", "request_rate_per_s": 4.0}


def judged(folder: Path, lag_ms: float) -> dict[str, Any]:
    """The hits were sent so late, the cold requests in time."""
    records = [
        dataclasses.replace(record, schedule_lag_ms=lag_ms if record.round == 2 else 0.0, scheduled_at_s=record.started_at_s)
        for record in make_records(TRUTH)
    ]
    stats = analyse_folder(write_run(folder, records, TRUTH, arrival=OPEN, targets={"hit_ttft_reduction_min": 0.6})).stats
    return next(row for row in stats["targets"] if row["target"] == "hit_ttft_reduction_min")


def test_hits_that_were_sent_late_are_no_fast_hits(tmp_path: Path) -> None:
    """552 ms cold, 62.4 ms on a hit: 89 % less; half a second late it is 562 ms and 2 % more."""
    late = judged(tmp_path / "late", 500.0)
    assert late["verdict"] == "fail"
    assert late["value"] == pytest.approx(1 - 562.4 / 552)
    assert late["text"].endswith("from the intended time")
    in_time = judged(tmp_path / "in_time", 1.0)
    assert in_time["verdict"] == "pass"
    assert in_time["value"] == pytest.approx(1 - 62.4 / 552)
    assert "intended" not in in_time["text"]
