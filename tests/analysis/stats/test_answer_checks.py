"""Answers of another size than asked for, prompts of another size than planned, and answers that were kept back on their way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.tables.sentences import headline
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, write_run
from tests.analysis.told import report_of

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=8, turns=2, prefix_tokens=2000)
OUTPUT_BOUND = {"e2e_ms", "tpot_ms", "requests_per_s", "output_tokens_per_s", "total_tokens_per_s"}


def analysed(folder: Path, change: Callable[[Record], Record], truth: Truth = TRUTH) -> Analysis:
    return analyse_folder(write_run(folder, [change(record) for record in make_records(truth)], truth))


def problems(analysis: Analysis, code: str) -> list[str]:
    return [row["text"] for row in analysis.stats["problems"] if row["code"] == code]


def with_output(record: Record, tokens: int) -> Record:
    e2e_ms = (record.ttft_ms or 0) + (tokens - 1) * (record.tpot_ms or 0)
    return replace(record, output_tokens=tokens, chunks=tokens, e2e_ms=e2e_ms)


def shorter_on_a_hit(record: Record) -> Record:
    return with_output(record, 12 if record.round == 1 else 6)


def test_rounds_of_unequal_output_are_not_compared_on_what_depends_on_it(tmp_path: Path) -> None:
    found = analysed(tmp_path, shorter_on_a_hit)
    rows = [row for row in found.stats["effects"] if row["verdict"]]
    assert {row["metric"] for row in rows if row["verdict"] == "not comparable"} == OUTPUT_BOUND
    assert {row["metric"] for row in rows if row["verdict"] != "not comparable"} >= {"ttft_ms"}  # the TTFT does not depend on it
    assert all(row["p_value"] is None for row in rows if row["metric"] in OUTPUT_BOUND)
    assert "Throughput not comparable" in headline(found.stats)
    target = next(row for row in found.stats["targets"] if row["target"] == "hit_throughput_gain_min")
    assert target["verdict"] == "not judged"
    assert "6.0 in round 2 against 12.0 in round 1" in target["why"]
    assert len(problems(found, "unequal_output")) == 1
    assert "(6.0 came on average, 40.0 were asked for)" in problems(found, "output_not_as_asked")[1]
    assert all(row["succeeded"] == 16 for row in found.stats["rounds"])  # a short answer is no failure
    assert "not comparable" in run_text(found.stats)
    assert "not comparable" in report_of(found)


def test_answers_without_a_token_count_are_compared_by_their_chunks(tmp_path: Path) -> None:
    found = analysed(tmp_path, lambda record: replace(shorter_on_a_hit(record), output_tokens=None))
    assert "chunks of output on average: 6.0 in round 2 against 12.0 in round 1" in problems(found, "unequal_output")[0]


def test_equal_output_is_compared_whatever_was_asked(tmp_path: Path) -> None:
    found = analysed(tmp_path, lambda record: with_output(record, 20))
    assert problems(found, "unequal_output") == []
    assert len(problems(found, "output_not_as_asked")) == 2
    assert not any(row["withheld"] for row in found.stats["effects"])


def test_a_scenario_that_lets_answers_end_is_not_blamed_for_short_ones(tmp_path: Path) -> None:
    free = replace(TRUTH, info={"scenarios": [{"name": TRUTH.scenario, "requests": 16, "ignore_eos": False}]})
    assert problems(analysed(tmp_path / "short", lambda record: with_output(record, 20), free), "output_not_as_asked") == []
    longer = analysed(tmp_path / "long", lambda record: with_output(record, 60), free)
    assert len(problems(longer, "output_not_as_asked")) == 2  # max_tokens was not honoured


def test_prompts_that_the_server_cut_are_named_with_both_figures(tmp_path: Path) -> None:
    found = analysed(tmp_path, lambda record: replace(record, prompt_tokens=1024, reported_cached_tokens=0))
    text = problems(found, "prompt_tokens_off")[0]
    assert "the server counted 1,024 prompt tokens per request, 2,096 were planned (49%)" in text
    assert "prompts seem to be cut to 1,024 tokens" in text


def test_prompts_counted_otherwise_than_planned(tmp_path: Path) -> None:
    twice = analysed(tmp_path / "twice", lambda record: replace(record, prompt_tokens=2 * (record.prompt_tokens or 0)))
    assert "4,192 prompt tokens per request, 2,096 were planned (200%)" in problems(twice, "prompt_tokens_off")[0]
    near = analysed(tmp_path / "near", lambda record: replace(record, prompt_tokens=(record.prompt_tokens or 0) + 40))
    assert problems(near, "prompt_tokens_off") == []
    own = replace(TRUTH, info={"scenarios": [{"name": TRUTH.scenario, "requests": 16, "corpus": {"kind": "documents"}}]})
    estimated = analysed(tmp_path / "own", lambda record: replace(record, prompt_tokens=2 * (record.prompt_tokens or 0)), own)
    assert problems(estimated, "prompt_tokens_off") == []  # a user's own text is planned by an estimate


def test_answers_that_a_proxy_kept_back(tmp_path: Path) -> None:
    """All of round 1, none of round 2."""

    def kept_back(record: Record) -> Record:
        return replace(record, buffered=record.round == 1, tpot_ms=None, itl_p50_ms=None, itl_p99_ms=None)

    found = analysed(tmp_path, kept_back, replace(TRUTH, info={"targets": {"hit_ttft_reduction_min": 0.1}}))
    (text,) = problems(found, "buffered")
    assert "16 of 16 answers were buffered on their way" in text
    why = "TTFT includes decode time: 16 of 16 answers of round 1 were buffered on their way"
    assert headline(found.stats).startswith(f"{TRUTH.scenario}: {why}. As measured: repeating the requests")
    (target,) = [row for row in found.stats["targets"] if row["target"] == "hit_ttft_reduction_min"]
    assert (target["verdict"], target["why"]) == ("not judged", "TTFT includes decode time: answers were buffered on their way")
