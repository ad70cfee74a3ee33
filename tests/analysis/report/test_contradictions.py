"""What a headline says is what verdicts, targets, the gate and the files for CI say; what weakens it comes first in all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.commands.one_run import gate_cause
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.report import ci
from locust_kvcache.analysis.report.run_page import run_page
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.tables.claim_words import answer
from locust_kvcache.contract.record import Record
from locust_kvcache.contract.round_kinds import CONTROL, HIT
from tests.analysis.synthetic import Truth, make_records, round_rows, write_run
from tests.analysis.told import report_of

TRUTH = Truth(sessions=6, turns=2)
pytestmark = pytest.mark.slow  # each test analyses a whole run


def failed(record: Record) -> Record:
    return replace(record, status="timeout", error="timed out", ttft_ms=None, e2e_ms=None, tpot_ms=None, output_tokens=None)


def with_arms(records: list[Record]) -> dict[str, Any]:
    """What run.json says of a run of --arms cold gpu_hit."""
    arms = ["cold", "gpu_hit"]
    return {"arms": arms, "rounds": [{**row, "arm": arms[row["round"] - 1]} for row in round_rows(records)]}


def test_a_run_with_arms_has_one_headline_for_the_page_the_console_and_ci(tmp_path: Path) -> None:
    """The files for CI said "cold and hit cannot be compared", and named the targets; the page did not."""
    records = make_records(TRUTH)
    info = {**with_arms(records), "targets": {"hit_ttft_reduction_min": 0.1}}
    analysis = analyse_folder(write_run(tmp_path / "run", records, TRUTH, **info))
    lead = run_page(analysis, charts=False).lead
    assert lead.endswith("1 of 1 target met.")
    assert "cannot be compared" not in lead
    outcome = ci.run_outcome(analysis.stats, gate_cause([analysis.stats]))
    assert outcome.lead == lead
    assert json.loads(ci.as_json(outcome))["lead"] == lead
    assert " ".join(run_text(analysis.stats).split()).startswith(lead[:200])


def test_arms_too_say_what_weakens_them_beside_the_gravest(tmp_path: Path) -> None:
    records = [failed(record) if record.round == 2 and record.request_index == 0 else record for record in make_records(TRUTH)]
    records = [replace(record, reported_cached_tokens=3_000) if record.round == 1 else record for record in records]
    lead = run_page(analyse_folder(write_run(tmp_path / "run", records, TRUTH, **with_arms(records))), charts=False).lead
    assert "1 of 24 planned requests failed" in lead
    assert "Also: round 1 was not cold" in lead


def test_a_change_that_nothing_hit_explains_is_not_the_caches_beside_a_failure_either(tmp_path: Path) -> None:
    """Every request of round 2 takes half as long, and none hit; one failed."""
    records = [
        replace(record, reported_cached_tokens=0, ttft_ms=(record.ttft_ms or 0) * (0.5 if record.round == 2 else 1.0))
        for record in make_records(TRUTH.but(efficiency=0.0, noise=0.02))
    ]
    records = [failed(record) if record.round == 2 and record.request_index == 0 else record for record in records]
    analysis = analyse_folder(write_run(tmp_path / "run", records, TRUTH))
    lead = run_page(analysis, charts=False).lead
    assert lead.startswith("long_context_high_reuse: 1 of 24 planned requests failed (--max-failures: 0)")
    assert "nothing hit in round 2" in lead
    assert "hits are missing, so the change has other causes than the cache" in lead
    assert "cuts" not in lead
    verdicts = {row["verdict"] for row in analysis.stats["effects"] if row["split"] == "round" and row["metric"] == "ttft_ms"}
    assert "better" not in verdicts


def test_without_evidence_a_change_that_is_undecided_is_not_called_faster() -> None:
    """An interval without 1 that the adjustment leaves undecided (p 0.08)."""
    row = {
        "scenario": "s", "split": "round", "metric": "ttft_ms", "statistic": "mean", "baseline": 100.0, "contender": 90.0, "ratio": 0.9,
        "ratio_low": 0.81, "ratio_high": 0.99, "verdict": "undecided", "p_adjusted": 0.08,
    }  # fmt: skip
    claim = {
        "scenario": "s", "cause": "nothing could be judged", "lead": "nothing shows", "valid": True, "credited": False,
        "verdict": "no sign of a hit", "why_not_judged": "", "later": "round 2", "control": None,
        "rounds": [(2, "unknown", "")], "also": (),
    }  # fmt: skip
    rounds = [{"scenario": "s", "round": number, "kind": kind} for number, kind in ((1, "cold"), (2, "hit"))]
    stats = {"claims": [claim], "effects": [row], "rounds": rounds}
    assert answer(stats, "s").startswith("s: later rounds are not certainly faster or slower (undecided); nothing shows")
    decided = {**stats, "effects": [{**row, "verdict": "no sign of a hit"}]}
    assert answer(decided, "s").startswith("s: later rounds are faster; nothing shows")


def test_a_change_against_a_control_is_not_said_to_be_against_cold(tmp_path: Path) -> None:
    truth = TRUTH.but(rounds=3, efficiency=0.0)
    kinds = {1: "cold", 2: CONTROL, 3: HIT}
    records = [replace(record, round_kind=kinds[record.round]) for record in make_records(truth)]
    rounds = [{**row, "kind": kinds[row["round"]]} for row in round_rows(records)]
    lead = run_page(analyse_folder(write_run(tmp_path / "run", records, truth, rounds=rounds)), charts=False).lead
    assert "nothing hit in round 3" in lead
    assert "Round 3 against the control: mean TTFT" in lead
    assert "against cold" not in lead


def test_failures_above_the_limit_of_the_run_end_the_gate_though_each_scenario_is_below(tmp_path: Path) -> None:
    records = [
        failed(record) if record.round == 2 and record.request_index == 0 else record
        for scenario in ("long_context_high_reuse", "cold_start")
        for record in make_records(TRUTH.but(scenario=scenario))
    ]
    analysis = analyse_folder(write_run(tmp_path / "run", records, TRUTH, max_failures="1"))
    assert not analysis.stats["complete"]
    assert gate_cause([analysis.stats]).name == "failures"
    assert {row["verdict"] for row in analysis.stats["targets"]} == {"not judged"}
    assert "2 of 48 planned requests failed (--max-failures: 1)" in run_page(analysis, charts=False).lead
    assert "; complete, " not in run_text(analysis.stats)


def test_of_servers_that_others_use_too_no_more_than_all_tokens_came_from_a_cache(tmp_path: Path) -> None:
    """A prefiller that counted 1.6 times the prompt tokens of the round, and nine tenths of them as cached."""
    folder = write_run(
        tmp_path / "run",
        make_records(TRUTH),
        TRUTH,
        deployment={"name": "pd", "kind": "pd_disagg", "endpoint": "http://127.0.0.1:8000"},
    )
    sent = sum(record.prompt_tokens or 0 for record in make_records(TRUTH) if record.round == 1)
    scrapes, grown = [], 0.0
    for number in (1, 2):
        for when in ("before", "after"):
            grown += 1.6 * sent if when == "after" else 0.0
            cached = 0.9 * (grown - 1.6 * sent) if number == 2 else 0.0
            samples = {
                "vllm:prompt_tokens_total": grown, "vllm:prefix_cache_queries_total": grown, "vllm:prefix_cache_hits_total": cached,
                'vllm:prompt_tokens_by_source_total{source="local_compute"}': grown - cached,
                'vllm:prompt_tokens_by_source_total{source="local_cache_hit"}': cached,
                'vllm:prompt_tokens_by_source_total{source="external_kv_transfer"}': 0.0,
            }  # fmt: skip
            place = {"scenario": TRUTH.scenario, "round": number, "when": when, "role": "prefiller"}
            scrapes.append({"at_s": 1000.0 + len(scrapes), "url": "http://127.0.0.1:8000/metrics", **place, "samples": samples})
    (folder / "server_metrics.jsonl").write_text("".join(json.dumps(scrape) + "\n" for scrape in scrapes))
    analysis = analyse_folder(folder)
    (row,) = [row for row in analysis.stats["verdicts"] if row["round"] == 2]
    assert row["evidence"] == "counters of the prefiller"
    assert row["text"].startswith("90.0 % of the prompt tokens came from a cache")
    assert "144 %" not in report_of(analysis)
