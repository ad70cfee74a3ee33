"""Counts that cannot be true are missing in an analysis, said by name, and never published as figures; possible ones are untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.tables.sentences import headline
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, write_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=8, turns=2, prefix_tokens=2000)


def analysed(folder: Path, change: Callable[[Record], Record], truth: Truth = TRUTH) -> Analysis:
    return analyse_folder(write_run(folder / "run", [change(record) for record in make_records(truth)], truth))


def problems(analysis: Analysis, code: str) -> list[str]:
    return [row["text"] for row in analysis.stats["problems"] if row["code"] == code]


def published(analysis: Analysis, column: str) -> list[Any]:
    return [row[column] for row in analysis.stats["rounds"]]


def test_possible_counts_stay_as_they_are(tmp_path: Path) -> None:
    found = analysed(tmp_path, lambda record: record)
    assert published(found, "prompt_tokens") == [16 * 2096, 16 * 2096]
    assert problems(found, "usage_rejected") == problems(found, "cached_tokens_lie") == []


def test_more_cached_than_the_prompt_has(tmp_path: Path) -> None:
    """Counted twice, as local and remote: half of a prompt looks possible and is as wrong."""
    found = analysed(tmp_path, lambda record: replace(record, reported_cached_tokens=2 * (record.reported_cached_tokens or 0)))
    assert published(found, "hit_rate") == published(found, "cache_efficiency") == [None, None]
    assert published(found, "prompt_tokens") == [16 * 2096, 16 * 2096]  # as planned: it is the other count that is wrong
    assert len(problems(found, "cached_tokens_lie")) == 1
    assert "%" not in headline(found.stats).split("served")[0].split("TTFT")[0]


def test_prompt_tokens_that_leave_out_what_was_cached(tmp_path: Path) -> None:
    def uncached(record: Record) -> Record:
        return replace(record, prompt_tokens=(record.prompt_tokens or 0) - (record.reported_cached_tokens or 0))

    found = analysed(tmp_path, uncached)
    assert (
        published(found, "prompt_tokens")
        == published(found, "hit_rate")
        == published(found, "total_tokens_per_s")
        == [None, None]
    )
    assert "prompt tokens are far from the plan" in problems(found, "cached_tokens_lie")[0]


def test_one_impossible_count_of_many_costs_only_itself(tmp_path: Path) -> None:
    truth = replace(TRUTH, sessions=60)
    found = analysed(
        tmp_path,
        lambda record: (
            replace(record, reported_cached_tokens=9_999) if (record.round, record.request_index) == (2, 3) else record
        ),
        truth,
    )
    assert problems(found, "cached_tokens_lie") == []
    assert problems(found, "usage_rejected") == [
        "The server's token counts cannot be true: cached_tokens in 1 of 240 answers. Figures from them are missing."
    ]
    assert published(found, "hit_rate")[1] == pytest.approx(2080 / 2096)


def test_output_tokens_that_cannot_be(tmp_path: Path) -> None:
    """40 chunks carried output in every answer."""
    values: list[Any] = [-5, 1e40, 0, 3, 39.5]
    found = analysed(tmp_path, lambda record: replace(record, output_tokens=values[record.request_index % len(values)]))
    assert published(found, "output_tokens") == published(found, "output_tokens_per_s") == [None, None]
    assert "cannot be true: completion_tokens in 32 of 32 answers" in problems(found, "usage_rejected")[0]


def test_what_the_load_rejected_is_told_with_its_reason(tmp_path: Path) -> None:
    reason = "prompt_tokens is '2096', which is not a number of tokens"
    found = analysed(tmp_path, lambda record: replace(record, prompt_tokens=None, usage_rejected=reason))
    assert reason in problems(found, "usage_rejected")[0]
    assert published(found, "hit_rate") == [None, None]


def test_one_count_for_prompts_of_every_length_is_none(tmp_path: Path) -> None:
    lengths = replace(TRUTH, spread_tokens=400)
    found = analysed(tmp_path, lambda record: replace(record, prompt_tokens=2048, reported_cached_tokens=0), lengths)
    assert published(found, "prompt_tokens") == [None, None]
    text = problems(found, "usage_rejected")[0]
    assert "2,048 prompt tokens in each of 32 answers, to prompts of 2,096 to 4,896 planned tokens" in text
    same = analysed(tmp_path / "same", lambda record: record)
    assert problems(same, "usage_rejected") == []  # prompts that are of one length may have one count


def test_numbers_of_a_kind_that_no_count_is_do_not_stop_the_reading(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_records(TRUTH), TRUTH)
    path = folder / "records.jsonl"
    odd = ['"2096"', "true", "NaN", "1e400", "-Infinity", "[1]"]
    lines = path.read_text().splitlines()
    for index, value in enumerate(odd):
        record = json.loads(lines[index])
        lines[index] = json.dumps({**record, "prompt_tokens": "ODD"}).replace('"ODD"', value)
    path.write_text("\n".join(lines) + "\n")
    found = analyse_folder(folder)
    assert published(found, "prompt_tokens") == [None, 16 * 2096]  # a sum of which one is missing is missing
    assert published(found, "succeeded") == [16, 16]


def test_an_answer_of_an_older_run_that_the_server_gave_up_has_failed(tmp_path: Path) -> None:
    found = analysed(tmp_path, lambda record: replace(record, finish_reason="abort") if record.request_index < 4 else record)
    assert published(found, "succeeded") == [12, 12]
    assert published(found, "failed_by_status") == [{"aborted": 4}, {"aborted": 4}]
    assert found.stats["failures"][0]["error"] == "finish_reason abort"
