"""Spools: a worker's own copy of its records."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from locust_kvcache.loadgen.worker.record_shipping import KEPT_DAYS, Spool


def test_old_spools_are_removed_when_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_SPOOL_DIR", str(tmp_path))
    for run, days in (("old", KEPT_DAYS + 1), ("young", KEPT_DAYS - 1)):
        (tmp_path / run).mkdir()
        (tmp_path / run / "host-1.jsonl").write_text("{}\n")
        at_s = time.time() - days * 86_400
        os.utime(tmp_path / run / "host-1.jsonl", (at_s, at_s))
    (tmp_path / "file").write_text("not a spool")
    Spool("new").append(["{}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new", "young"]


def test_a_folder_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KV_SPOOL_DIR", str(tmp_path / "nowhere"))
    Spool("new")
