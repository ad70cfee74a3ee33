"""The console's answer: at most 25 lines of at most 100 columns with the report's path, and every figure is that of stats.json."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.across_runs.run_comparison import compare_runs
from locust_kvcache.analysis.basics.number_text import change, number, percent
from locust_kvcache.analysis.commands.repeats import repeats_page
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report import repeats_answer
from locust_kvcache.analysis.report.comparison_page import comparison_page
from locust_kvcache.analysis.report.comparison_tables import short_names
from locust_kvcache.analysis.report.page import Page
from locust_kvcache.analysis.report.publish import page_text
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.report.sweep_page import by_users, sweep_page
from locust_kvcache.analysis.tables import console_lines
from locust_kvcache.analysis.tables.console_lines import caveat, caveat_lines, first_clause, shortened, summary
from locust_kvcache.analysis.tables.table import Table, find
from locust_kvcache.contract.text_width import wrap
from tests.analysis.synthetic import Truth, synthetic_run

TRUTH = Truth(sessions=6, turns=5, noise=0.05, spread_tokens=200)
TARGETS = {"hit_ttft_reduction_min": 0.5, "hit_throughput_gain_min": 99.0}
SINGLE = {"name": "our_single", "kind": "non_disagg", "gpus": 8}
PD = {"name": "our_pd", "kind": "pd_disagg", "gpus": 16}


def fits(text: str) -> str:
    """With the report's path and what is being done meanwhile it takes three lines more."""
    lines = text.splitlines()
    assert len(lines) <= 22, text
    assert max(map(len, lines)) <= 100, text
    return text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysis]:
    folder = tmp_path_factory.mktemp("runs")
    made = {
        "single": TRUTH.but(run_id="s", info={"deployment": SINGLE, "targets": TARGETS}),
        "pd": TRUTH.but(run_id="p", fixed_ms=60, seed=2, info={"deployment": PD, "targets": TARGETS}),
    }
    return {name: analyse_folder(synthetic_run(folder / name, truth)) for name, truth in made.items()}


def effect(stats: dict[str, Any], metric: str) -> dict[str, Any]:
    (row,) = [row for row in find(stats["effects"], split="round", metric=metric) if row["statistic"] in ("mean", "rate")]
    return row


def test_every_figure_of_a_run_is_that_of_its_statistics(runs: dict[str, Analysis]) -> None:
    stats = runs["single"].stats
    text = fits(run_text(stats))
    lines = {line.split("  ")[1]: line for line in text.splitlines() if line.startswith("  ")}
    names = {
        "TTFT, ms": "ttft_ms",
        "TPOT, ms": "tpot_ms",
        "E2E latency, ms": "e2e_ms",
        "throughput, requests/s": "requests_per_s",
    }
    for name, metric in names.items():
        row = effect(stats, metric)
        assert re.split(r"  +", lines[name].strip())[1:] == [number(row["baseline"]), number(row["contender"]), change(row)]
    rates = [percent(row["hit_rate"]) for row in stats["rounds"]]
    assert re.split(r"  +", lines["hit rate"].strip())[1:] == rates
    (missed, met) = (line for line in text.splitlines() if "wanted" in line)
    assert missed.startswith("FAIL: throughput on a hit")
    assert met.startswith("PASS: TTFT on a hit")
    assert percent(next(iter(find(stats["targets"], target="hit_ttft_reduction_min")))["value"]) in met


def test_an_incomplete_run_says_so_in_its_first_line(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path, TRUTH, complete=False, incomplete_reason="stopped by the user")
    assert fits(run_text(analyse_folder(folder).stats)).startswith("INCOMPLETE (stopped by the user): ")


def test_a_comparison_fits_and_names_both_runs(runs: dict[str, Analysis]) -> None:
    found = compare_runs([runs["single"], runs["pd"]])
    text = fits(page_text(comparison_page(found), found.targets))
    row = next(re.split(r"  +", line.strip()) for line in text.splitlines() if line.startswith("  TTFT, ms"))
    sides = [effect(run.stats, "ttft_ms") for run in found.runs]
    assert [row[1], row[2], row[4], row[5]] == [number(one[side]) for side in ("baseline", "contender") for one in sides]
    assert "cold: single" in text
    assert "hit: single" in text


def test_studies_fit(tmp_path: Path) -> None:
    levels = [analyse_folder(synthetic_run(tmp_path / f"u{n}", TRUTH.but(run_id=f"u{n}"), users=n)) for n in (1, 5, 10)]
    page = sweep_page(by_users([level.stats for level in levels]))
    text = fits(page_text(page))
    assert [line.split()[0] for line in text.splitlines() if re.match(r"  \d+ users? ", line)] == ["1", "5", "10"]
    same = [
        analyse_folder(synthetic_run(tmp_path / f"r{n}", TRUTH.but(run_id=f"r{n}", seed=n, info={"deployment": PD})))
        for n in (1, 2, 3)
    ]
    assert "round 2: TTFT, ms" in fits(page_text(repeats_page(same)))


def test_whatever_is_found_the_answer_fits() -> None:
    row = {"severity": "warning", "text": "word " * 60, "what_to_do": "Do this. " * 20}
    table = Table("t", ("", *"abcdefgh"), tuple((f"row {n}", *["1,234,567 [1, 2]"] * 8) for n in range(40)))
    many = [row | {"text": f"{n} {row['text']}"} for n in range(30)]
    text = fits(summary("A sentence. " * 60, "what was run " * 20, [table], ["PASS: x"] * 5, many))
    assert "more lines in the report" in text
    assert "more caveats in the report" in text
    page = Page("t", "sub", "lead " * 100, (), (), (row,) * 9, (), incomplete=True, short=(table,))
    assert fits(page_text(page)).startswith("INCOMPLETE: ")


def test_what_an_error_says_to_do_is_not_cut_where_two_lines_hold_it() -> None:
    way = 'Run both with the same value, or accept the difference: --accept "plan: scenarios".'
    error = {
        "severity": "error",
        "text": "Not comparable: plan: scenarios differs (a: requests 4 / a: requests 30).",
        "what_to_do": way,
    }
    note = {
        "severity": "note",
        "text": "One run of each: the figures describe these runs; other runs may well differ, and by much more.",
    }
    assert caveat_lines([error], 1) == [caveat(error)], "no room for a second line"
    first, second = caveat_lines([error], 2)
    assert first == "error: Not comparable: plan: scenarios differs (a: requests 4 / a: requests 30). Run both with the"
    assert second == '  same value, or accept the difference: --accept "plan: scenarios".'
    notes = [note | {"text": f"{number}: {note['text']}"} for number in range(3)]
    assert caveat_lines([error, *notes], 6) == [first, second, *map(caveat, notes)], "a note takes one line"
    assert caveat_lines([error, *notes], 4) == [first, second, caveat(notes[0]), "2 more caveats in the report"]
    others = [error | {"text": f"{number}: {error['text']}"} for number in range(3)]
    assert caveat_lines([error, *others], 4) == [caveat(row) for row in (error, *others)], (
        "each is told before one is told in full"
    )
    assert caveat_lines([error, error, note], 3) == [first, second, caveat(note)]


def test_a_figure_and_its_per_cent_sign_stay_on_a_line() -> None:
    words = "word " * 19
    assert wrap(f"{words}72.5 % more", 100, 3, "") == [words.strip(), "72.5 % more"]
    assert wrap("字" * 46 + " 72 % [无区间]", 100, 3, "") == ["字" * 46 + " 72 %", "[无区间]"]


def test_a_caveat_takes_one_line_with_its_way_out() -> None:
    brief = {"severity": "note", "text": "Nothing.", "what_to_do": "Go on."}
    assert caveat(brief) == "note: Nothing. Go on."
    long = {"severity": "warning", "text": "1 of 60 TTFTs are left out: the first chunk waited in the load generator and was read late.",
            "what_to_do": "Use more workers (--processes). Or fewer users."}  # fmt: skip
    assert caveat(long) == "warning: 1 of 60 TTFTs are left out. Use more workers (--processes)."
    alone = {
        "severity": "note",
        "text": "One run of each: the figures describe these runs; other runs of the same deployments may differ.",
    }
    assert caveat(alone).startswith("note: One run of each: the figures describe these runs; other runs")
    assert first_clause("1 user: 1 of 60 TTFTs are left out: the first") == "1 user: 1 of 60 TTFTs are left out"
    assert first_clause("3 of 12 requests failed: 2 x cut, 1 x reset. They are") == "3 of 12 requests failed: 2 x cut, 1 x reset"
    assert len(caveat(long | {"text": "word" * 60})) <= console_lines.WIDTH


def test_words_and_names_are_cut() -> None:
    assert shortened("one two three", 20) == "one two three"
    assert shortened("one two three four five six", 18) == "one two three ..."
    assert len(shortened("x" * 50, 20)) == 20
    assert short_names(["emulator_single", "emulator_pd"]) == ["single", "pd"]
    assert short_names(["a", "b"]) == ["a", "b"]


def test_repeats_crown_nothing_that_overlaps() -> None:
    one = {"deployment": "a", "mean": 100.0, "low": 90.0, "high": 110.0}
    near = {"deployment": "b", "mean": 120.0, "low": 105.0, "high": 140.0}
    far = {"deployment": "c", "mean": 300.0, "low": 280.0, "high": 320.0}
    assert repeats_answer.front([far, near, one], " ms", smallest=True) == "a or b (100 and 120 ms; intervals overlap)"
    assert repeats_answer.front([far, one], " ms", smallest=True) == "a (100 ms; next c 300)"
    assert repeats_answer.front([far, {**one, "low": None}], " ms", smallest=False).startswith("c or a")


def named(analysis: Analysis, name: str, other: str) -> Analysis:
    """The same run, of a deployment of another name."""
    return replace(analysis, stats=json.loads(json.dumps(analysis.stats).replace(name, other)))


def test_several_deployments_have_a_row_each(tmp_path: Path) -> None:
    names = ("lab_tp2", "lab_dp2", "lab_dp4")
    truths = [TRUTH.but(run_id=f"{names[0]}{n}", seed=n, info={"deployment": {**SINGLE, "name": names[0]}}) for n in (1, 2)]
    first = [analyse_folder(synthetic_run(tmp_path / truth.run_id, truth)) for truth in truths]
    page = repeats_page([named(one, names[0], name) for name in names for one in first])
    assert page.subtitle.endswith("2 runs of each of 3 deployments; names without lab_; tp2 is the baseline")
    (table,) = [block for block in page.answer if isinstance(block, Table) and "each deployment" in block.title]
    assert [row[:3] for row in table.rows] == [("tp2", "8", "2"), ("dp2", "8", "2"), ("dp4", "8", "2")]
    assert "intervals overlap" in page.lead
    assert "cold: req/s" in fits(page_text(page))
