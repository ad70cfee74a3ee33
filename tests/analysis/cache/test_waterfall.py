"""Where a fleet loses reuse: two engines and a serial run, each number by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locust_kvcache.analysis.cache.waterfall import STEPS, waterfall
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.tables.fleet_tables import waterfall_table
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, write_run

TRUTH = Truth(sessions=2, turns=2)  # prompts of 4,000 shared + 96 own tokens; answers of 40


def sent_to(engines: list[str], truth: Truth = TRUTH) -> list[Record]:
    """The records of a serial run, each answered by the next engine."""
    records = make_records(truth)
    return [dataclasses.replace(record, engine=engine) for record, engine in zip(records, engines, strict=True)]


def steps(folder: Path, records: list[Record], gpu_tokens: float | None = None, truth: Truth = TRUTH) -> list[dict[str, Any]]:
    labelled, _ = label_run(load_run(write_run(folder, records, truth)))
    table, why = waterfall(labelled, 16, gpu_tokens, 2)
    assert why is None
    return table.to_dict("records")


def delivering(records: list[Record], share: float) -> list[Record]:
    """Engines that deliver that share of what the plan says could be cached, in whole blocks."""
    told = [int((record.planned_cached_tokens or 0) * share) // 16 * 16 for record in records]
    return [dataclasses.replace(record, reported_cached_tokens=tokens) for record, tokens in zip(records, told, strict=True)]


def test_what_the_routing_loses_by_hand(tmp_path: Path) -> None:
    one, two = steps(tmp_path, delivering(sent_to(["a", "b", "a", "a", "a", "a", "a", "a"]), 0))
    assert one["beyond_tokens"] == two["beyond_tokens"] == 0
    # round 1: the second question of the first document goes to b, which has nothing; the second document's stays on a
    assert (one["reusable"], one["held"], one["captured"]) == (8000, 8000, 4000)
    # round 2: all prompts are known; the one that b answered is known to a by its document alone
    assert (two["reusable"], two["held"], two["captured"]) == (4 * 4080, 4 * 4080, 3 * 4080 + 4000)
    assert (one["requests"], one["prompt_tokens"], one["engines"]) == (4, 4 * 4096, 2)


def test_small_caches_lose_before_the_routing_does(tmp_path: Path) -> None:
    """Each engine holds one prompt with its answer: the first document is gone when round 2 asks for it."""
    truth = TRUTH.but(sessions=2, turns=1)
    one, two = steps(tmp_path, delivering(sent_to(["a", "a", "a", "a"], truth), 0), gpu_tokens=2 * 258 * 16, truth=truth)
    assert (one["reusable"], one["held"], one["captured"]) == (0, 0, 0)
    assert two["reusable"] == 2 * 4080
    assert two["held"] == two["captured"] == 0  # LRU: each was pushed out by the other
    assert two["engine_tokens"] == 258 * 16


def test_what_comes_from_a_store_that_all_share_is_counted_and_said(tmp_path: Path) -> None:
    one, _ = steps(tmp_path, sent_to(["a", "b", "a", "a", "a", "a", "a", "a"]))
    assert (one["held"], one["captured"], one["delivered"], one["beyond_tokens"]) == (8000, 8000, 8000, 4000)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    labelled, _ = label_run(load_run(write_run(tmp_path / "none", make_records(TRUTH), TRUTH)))
    table, why = waterfall(labelled, 16, None, 0)
    assert table.empty
    assert why is None  # no router that names engines: nothing to say
    half = [dataclasses.replace(record, engine="a" if record.request_index % 2 else None) for record in make_records(TRUTH)]
    labelled, _ = label_run(load_run(write_run(tmp_path / "half", half, TRUTH)))
    table, why = waterfall(labelled, 16, None, 0)
    assert table.empty
    assert why == "4 of 8 responses do not name the engine that answered"


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=16, max_size=16), st.sampled_from([None, 9000.0, 30000.0]))
def test_each_step_holds_no_more_than_the_one_before(
    tmp_path_factory: pytest.TempPathFactory, engines: list[str], gpu_tokens: float | None
) -> None:
    truth = TRUTH.but(sessions=4, turns=2)
    for row in steps(tmp_path_factory.mktemp("run"), sent_to(engines, truth), gpu_tokens, truth):
        assert row["reusable"] >= row["held"] >= row["captured"] >= row["delivered"] >= 0


@pytest.mark.slow
def test_the_report_names_loss_cause_and_remedy(tmp_path: Path) -> None:
    records = delivering(sent_to(["a", "b", "a", "a", "a", "a", "a", "a"]), 0.25)
    stats = analyse_folder(write_run(tmp_path, records, TRUTH)).stats
    assert set(STEPS) <= set(stats["waterfall"][0])
    table = waterfall_table(stats, TRUTH.scenario)
    captured = next(row for row in table.rows if row[0] == "round 1: captured by the routing")
    assert captured[3] == "3,008"  # 4,000 but for the 992 that came from elsewhere
    assert captured[4:] == ("another engine held more", "a policy by prefix or by session, or a shared store")
    assert "unknown" in table.notes[0]


def test_what_is_paid_out_in_time_by_hand(tmp_path: Path) -> None:
    """Round 1: nothing delivered, 100 ms each. Round 2: half of each prompt delivered, 70 ms: computing was cut by 50 %, the TTFT by 30."""
    records = sent_to(["a", "b"] * 4)
    changed = [
        dataclasses.replace(
            record, ttft_ms=100.0 if record.round == 1 else 70.0, reported_cached_tokens=0 if record.round == 1 else 2048
        )
        for record in records
    ]
    one, two = steps(tmp_path, changed)
    assert one["ttft_cut"] is None or one["ttft_cut"] != one["ttft_cut"]
    assert (two["round_1_ttft_ms"], two["ttft_ms"]) == (100.0, 70.0)
    assert (two["ttft_cut"], two["compute_cut"]) == (pytest.approx(0.3), pytest.approx(0.5))
    two["scenario"] = "s"
    *_, paid = waterfall_table({"waterfall": [two]}, "s").rows
    assert paid[:4] == ("round 2: paid out in time", "TTFT 100 to 70.0 ms", "−30.0 %", "20.0 %")
    assert "loading, queueing" in paid[4]
