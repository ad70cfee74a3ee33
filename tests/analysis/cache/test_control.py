"""A control round: the same lengths with fresh prompts. What order and warm-up do stands beside what the cache does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.tables.sentences import headline
from locust_kvcache.analysis.tables.table import find
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, round_rows, write_run
from tests.analysis.told import report_of

TRUTH = Truth(sessions=8, turns=3, noise=0.02)
KINDS = {1: "cold", 2: "control", 3: "hit"}


def with_control(folder: Path, warm: float, cached: bool) -> Analysis:
    """Round 1 takes `warm` times as long (first kernels); the control repeats its lengths, and round 3 its prompts."""
    cold, hit = (make_records(TRUTH.but(efficiency=float(cached)))[start : start + 24] for start in (0, 24))
    later_s = 10_000.0
    first = [scaled(record, warm) for record in cold]
    control = [dataclasses.replace(record, round=2, started_at_s=record.started_at_s + later_s) for record in cold]
    last = [dataclasses.replace(record, round=3, started_at_s=record.started_at_s + 2 * later_s) for record in hit]
    records = [dataclasses.replace(record, round_kind=KINDS[record.round]) for record in [*first, *control, *last]]
    rounds: list[dict[str, Any]] = [{**row, "kind": KINDS[row["round"]]} for row in round_rows(records)]
    targets = {"hit_ttft_reduction_min": 0.4}
    run = write_run(folder, records, TRUTH, rounds=rounds, rounds_planned={TRUTH.scenario: 3}, targets=targets)
    return analyse_folder(run)


def scaled(record: Record, factor: float) -> Record:
    assert record.ttft_ms is not None
    assert record.e2e_ms is not None
    extra = record.ttft_ms * (factor - 1)
    return dataclasses.replace(record, ttft_ms=record.ttft_ms + extra, e2e_ms=record.e2e_ms + extra)


def ratio(analysis: Analysis, split: str) -> float:
    (row,) = find(analysis.stats["effects"], split=split, metric="ttft_ms", statistic="mean")
    return float(row["ratio"])


def test_the_cache_is_judged_against_the_control(tmp_path: Path) -> None:
    """Round 1 takes twice as long as the control: half of the way from cold to hit is warm-up, and no cache's."""
    found = with_control(tmp_path, 2.0, cached=True)
    assert ratio(found, "control") == pytest.approx(0.5)
    assert ratio(found, "round") == pytest.approx(ratio(found, "against control") / 2, rel=1e-6)
    text = headline(found.stats)
    assert "against the control" in text
    assert "−50.0 %" in text
    assert [row["split"] for row in found.stats["targets"]] == ["against control"]
    assert "Round 2 (control)" in report_of(found)
    assert "No control round was run" not in report_of(found)
    assert "control" in run_text(found.stats).split("change [interval]")[0].splitlines()[-1], "the baseline's column"


def test_warm_up_alone_is_seen_in_the_control_and_not_credited(tmp_path: Path) -> None:
    """A server that caches nothing, its first round twice as slow."""
    found = with_control(tmp_path, 2.0, cached=False)
    assert ratio(found, "control") == pytest.approx(0.5)
    text = headline(found.stats)
    assert text.startswith(f"{TRUTH.scenario}: nothing hit in round 3")
    assert "better" not in run_text(found.stats) + report_of(found)
    assert found.stats["targets"][0]["verdict"] == "not judged"


def test_without_a_control_the_report_says_so_in_one_line(tmp_path: Path) -> None:
    found = analyse_folder(write_run(tmp_path, make_records(TRUTH), TRUTH))
    assert "No control round was run (--control)" in report_of(found)
