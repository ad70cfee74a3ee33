"""Runs that are empty, cut off, all failed or odd: a page and tables for each, no traceback, no number out of nothing."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.run_comparison import compare_runs
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.comparison_page import comparison_page
from locust_kvcache.analysis.report.files import render_html, render_markdown
from locust_kvcache.analysis.report.publish import page_text
from locust_kvcache.analysis.report.run_page import run_page
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, write_run

pytestmark = pytest.mark.slow
TRUTH = Truth(sessions=4, turns=5, noise=0.05)
RECORDS = make_records(TRUTH)
NOTHING: dict[str, Any] = dict.fromkeys(
    "ttft_ms ttfb_ms e2e_ms tpot_ms prompt_tokens output_tokens reported_cached_tokens started_at_s first_choice_ms".split()
)  # fmt: skip
CUT = {"complete": False, "incomplete_reason": "stopped by the user"}


def changed(**values: Any) -> list[Record]:
    return [dataclasses.replace(record, **values) for record in RECORDS]


CASES: dict[str, tuple[list[Record], dict[str, Any]]] = {
    "stopped_before_round_1": ([], {"rounds": [], **CUT}),
    "no_scenario": ([], {"rounds": [], "scenarios": []}),
    "all_refused": (changed(status="refused", **NOTHING), {}),
    "one_record": (RECORDS[:1], {"rounds_planned": 1}),
    "round_1_only": (RECORDS[:20], CUT),
    "round_2_only": (RECORDS[20:], CUT),
    "run_json_of_nulls": (
        RECORDS,
        dict.fromkeys(("deployment", "server", "targets", "users", "workers", "arrival", "model", "command")),
    ),
    "times_of_zero": (changed(ttft_ms=0.0, e2e_ms=0.0, tpot_ms=0.0), {}),
    "no_variance": (changed(ttft_ms=100.0, e2e_ms=200.0, tpot_ms=5.0), {}),
    "no_start_times": (changed(started_at_s=None), {}),
    "no_times_at_all": (changed(**NOTHING), {}),
    "odd_values": (
        RECORDS,
        {"targets": {"hit_ttft_reduction_min": "a lot", "hit_throughput_gain_min": True}, "server": {"block_size_tokens": "x"}},
    ),
}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Analysis]:
    """The analysis of a case, made once."""

    @functools.cache
    def analyse(name: str) -> Analysis:
        records, info = CASES[name]
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return analyse_folder(write_run(tmp_path_factory.mktemp("edges") / name, records, TRUTH, **info))

    return analyse


@pytest.mark.parametrize("name", CASES)
def test_every_run_gets_its_page(analysed: Callable[[str], Analysis], name: str) -> None:
    analysis, info = analysed(name), CASES[name][1]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        text, page = run_text(analysis.stats), run_page(analysis, charts=False)
        assert "</html>" in render_html(page)
        assert render_markdown(page).startswith("# KV cache report")
    assert not [word for word in ("nan", "None", "inf ") if word in text.replace("information", "")], text
    if info.get("complete") is False:
        assert text.replace("\n", " ").index("stopped by the user") < 400


def test_eight_of_them_compared(analysed: Callable[[str], Analysis]) -> None:
    runs = [analysed(name) for name in list(CASES)[:8]]
    found = compare_runs(runs)
    assert not found.comparable
    assert "not comparable" in page_text(comparison_page(found)).replace("\n", " ")
    assert "</html>" in render_html(comparison_page(found))
