"""The commands as users call them: what they print, write and return."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, synthetic_run, write_run
from tests.conftest import Module

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=6, turns=5, noise=0.05, spread_tokens=200)
TARGETS = {"hit_ttft_reduction_min": 0.5, "pd_tpot_increase_max": 0.2, "pd_hit_ttft_ratio_max": 2.5}
PD = {"name": "pd", "kind": "pd_disagg", "gpus": 16}
SINGLE = {"name": "single", "kind": "non_disagg", "gpus": 8}
ROOT = Path(__file__).resolve().parents[3]
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> & `|*'


class Elements(HTMLParser):
    """The tags of a page, and every address that a browser would follow or fetch."""

    links: ClassVar[list[str]] = []

    @classmethod
    def of(cls, page: str) -> set[str]:
        cls.links, parser = [], cls()
        parser.tags = set()  # type: ignore[attr-defined]
        parser.feed(page)
        cls.links += re.findall(r"(?:url\(|@import )[\"']?(?!#)", page)
        return parser.tags  # type: ignore[attr-defined]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)  # type: ignore[attr-defined]
        fetched = {"src", "href", "xlink:href", "action", "data", "srcset", "poster"}
        self.links.extend(value or "" for name, value in attrs if name in fetched and not (value or "").startswith("#"))


def test_as_a_process_of_its_own(module: Module, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", TRUTH)
    done = subprocess.run(
        [sys.executable, "-m", "analysis", str(folder), "--no-report"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "complete, 60 of 60 records" in done.stdout
    done = module("analysis", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")


def test_analysis_of_a_run(command, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", TRUTH)
    done = command("analysis", folder)
    assert done.returncode == 0, done.stderr
    assert "complete, 60 of 60 records" in done.stdout
    for words in ("TTFT, ms", "change [interval]", "PASS", "hit rate", "report.html"):
        assert words in done.stdout
    told = (folder / "report" / "report.md").read_text()
    for words in ("TTFT, ms", "cold against hit", "Targets", "PASS", "P99", "by evidence"):
        assert words in told
    page = (folder / "report" / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert (folder / "report" / "report.md").is_file()
    assert (folder / "report" / "charts" / "answer.svg").stat().st_size > 1000
    assert "(charts/answer.svg)" in (folder / "report" / "report.md").read_text()
    assert not list((folder / "report" / "charts").glob("*.png"))
    assert done.stdout.index("change [interval]") < done.stdout.index("Report: "), "the answer does not wait for the report"


def test_no_report_and_several_runs(command, tmp_path: Path) -> None:
    folders = [synthetic_run(tmp_path / name, TRUTH.but(run_id=name)) for name in ("a", "b")]
    done = command("analysis", *folders, "--no-report")
    assert done.returncode == 0
    assert done.stdout.count("Statistics: ") == 2
    assert not (folders[0] / "report").exists()
    assert json.loads((folders[0] / "stats.json").read_text())["kind"] == "kvcache-stats"


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"targets": {"hit_ttft_reduction_min": 0.99}}, 1),
        ({"targets": {}, "complete": False, "incomplete_reason": "stopped"}, 2),
        ({"format": 9}, 3),
    ],
)
def test_gate(command, tmp_path: Path, info: dict, code: int) -> None:
    done = command("analysis", synthetic_run(tmp_path, TRUTH, **info), "--no-report", "--gate")
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Without line breaks: sentences are wrapped."""
    return " ".join(done.stdout.split())


def changed(number: int, count: int, **values: object) -> list[Record]:
    """The run's records, the first `count` of one round with other values."""
    return [
        dataclasses.replace(record, **values) if record.round == number and record.request_index < count else record
        for record in make_records(TRUTH)
    ]


EASY = {"hit_ttft_reduction_min": 0.1}


@pytest.mark.parametrize(
    ("records", "options", "code", "words"),
    [
        (make_records(TRUTH.but(efficiency=0.0)), [], 5, "nothing hit in round 2 (0.0 % of the prompt tokens"),
        (make_records(TRUTH.but(efficiency=0.4)), [], 5, "round 2 hit less than planned"),
        (changed(2, 30, reported_cached_tokens=None), [], 2, "later rounds are faster; nothing shows whether the cache did it"),
        (changed(2, 1, status="http_error"), [], 4, "1 of 60 planned requests failed (--max-failures: 0)"),
        (changed(2, 1, status="http_error"), ["--max-failures", "2%"], 0, "1 of 1 target met"),
        (changed(2, 24, status="http_error"), [], 4, "24 of 60 planned requests failed"),
        (changed(2, 30, client_limited=True, loop_lag_ms=162.8), [], 6, "not valid: the load generator was late (round 2: P90 of"),
        (make_records(TRUTH), [], 0, "1 of 1 target met"),
    ],
)  # fmt: skip
def test_a_gate_ends_with_the_gravest_cause_and_the_headline_says_it_first(
    command, tmp_path: Path, records: list[Record], options: list[str], code: int, words: str
) -> None:
    done = command("analysis", write_run(tmp_path, records, TRUTH, targets=EASY), "--no-report", "--gate", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in said(done)
    if code:
        assert "PASS" not in done.stdout
    if code in (2, 5, 6):
        assert "better" not in done.stdout


def test_argparse_errors_are_bad_input_and_the_help_lists_the_exit_codes(command) -> None:
    assert command("analysis", "--no-such-option").returncode == 3
    assert command("analysis", ".", "--max-failures", "a few").returncode == 3
    helped = command("analysis", "--help")
    assert helped.returncode == 0
    assert "5  nothing hit" in helped.stdout


def test_records_that_contradict_run_json_are_never_passed_over(command, tmp_path: Path) -> None:
    folder = write_run(tmp_path, make_records(TRUTH)[:-1], TRUTH, rounds=[
        {"scenario": TRUTH.scenario, "round": n, "planned_requests": 30, "records": 30, "wall_s": 1.0, "complete": True} for n in (1, 2)
    ])  # fmt: skip
    done = command("analysis", folder, "--no-report")
    assert done.returncode == 2
    assert said(done).startswith("INCOMPLETE: ")
    assert "29 of 30 planned requests have a record" in (folder / "stats.json").read_text()
    command("analysis.generate_report", "--stats", folder / "stats.json", "--output-dir", tmp_path / "report", "--format", "html")
    assert "Incomplete." in (tmp_path / "report" / "report.html").read_text()


def test_a_report_from_stats_json_alone_and_with_its_records(command, tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", TRUTH)
    command("analysis", folder, "--no-report")
    shutil.copy(folder / "stats.json", tmp_path / "alone.json")
    report = ["analysis.generate_report", "--output-dir"]
    alone = [tmp_path / "alone", "--stats", tmp_path / "alone.json", "--format", "both", "--generate-charts", "--png"]
    done = command(*report, *alone)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "alone" / "charts").glob("*.png"))) >= 5
    command(*report, tmp_path / "beside", "--stats", folder / "stats.json", "--format", "markdown")
    pages = [(tmp_path / name / "report.md").read_text() for name in ("alone", "beside")]
    assert "a sample inside stats.json" in pages[0]
    assert "60 records" in pages[1]
    assert [path.name for path in (tmp_path / "beside").iterdir()] == ["report.md"]


def test_comparison_of_pd_and_single(command, tmp_path: Path) -> None:
    single = synthetic_run(tmp_path / "single", TRUTH.but(run_id="s"), deployment=SINGLE)
    pd_run = synthetic_run(tmp_path / "pd", TRUTH.but(run_id="p", fixed_ms=60, seed=2), deployment=PD, targets=TARGETS)
    command("analysis", single, pd_run, "--no-report")
    done = command("analysis.compare_results", "--pd-stats", pd_run / "stats.json", "--non-pd-stats", single / "stats.json",
                   "--output", tmp_path / "comparison.html", "--gate", "--accept-single-runs")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "single cold",
        "PD hit",
        "against single",
        "per GPU",
        "Single runs were accepted",
        "TPOT of PD",
        "cold TTFT",
        "met in this run",
    ):
        assert words in (tmp_path / "comparison.html").read_text()
    for words in ("cold: single", "hit: single", "Single runs were accepted", "met in this run", "Report: "):
        assert words in done.stdout
    assert (tmp_path / "comparison.html").read_text().count("<svg") == 3, "the first chart once more for phones"
    told = [done.stdout, (tmp_path / "comparison.html").read_text().split("against single")[-1]]
    assert not [word for text in told for word in ("better", "worse", "undecided") if word in text]


def test_runs_under_other_conditions_are_not_compared(command, tmp_path: Path) -> None:
    first = synthetic_run(tmp_path / "a", TRUTH.but(run_id="a"))
    second = synthetic_run(tmp_path / "b", TRUTH.but(run_id="b"), users=10)
    command("analysis", first, second, "--no-report")
    first, second = first / "stats.json", second / "stats.json"
    assert "--accept-single-runs" in command("analysis.compare_results", first, second, "--gate").stderr
    output = tmp_path / "page.md"
    done = command("analysis.compare_results", first, second, "--gate", "--accept-single-runs", "--output", output)
    assert done.returncode == 2
    assert "not comparable" in said(done)
    assert "load: users differs (1 / 10)" in said(done)
    assert output.read_text().startswith("# KV cache comparison")
    assert '--accept "load: users"' in output.read_text()
    for words in ("users", "load: users"):
        accepted = command("analysis.compare_results", first, second, "--accept", words)
        assert "not comparable" not in said(accepted)
        assert "locust-kvcache repeats" in said(accepted)
    unknown = command("analysis.compare_results", first, second, "--accept", "usres")
    assert (unknown.returncode, "'usres'" in unknown.stderr, "load: users" in unknown.stderr) == (3, True, True)


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("analysis", ["{tmp}/nowhere"], ["{tmp}/nowhere", "does not exist"]),
        ("analysis", ["{tmp}"], ["is not a run", "run.json"]),
        (
            "analysis.generate_report",
            ["--stats", "{tmp}/other.json", "--output-dir", "{tmp}/x"],
            ["'kind'", "'else'", "kvcache-stats"],
        ),
        ("analysis.generate_report", ["--stats", "{tmp}/none.json", "--output-dir", "{tmp}/x"], ["cannot be read"]),
        ("analysis.compare_results", ["{tmp}/other.json"], ["1 run given", "2 or more"]),
        ("analysis.compare_results", ["--pd-stats", "{tmp}/other.json"], ["together"]),
        ("analysis.compare_results", ["{tmp}/a", "{tmp}/b", "--output", "x.pdf"], ["'.pdf'", ".html, .md"]),
    ],
)
def test_bad_input(command, tmp_path: Path, module: str, arguments: list[str], words: list[str]) -> None:
    (tmp_path / "other.json").write_text('{"kind": "else", "format": 1}')
    done = command(module, *[argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert all(word.replace("{tmp}", str(tmp_path)) in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_what_servers_say_is_escaped_and_nothing_is_fetched(command, tmp_path: Path) -> None:
    records = [
        dataclasses.replace(record, status="http_error", error=EVIL) if record.request_index == 3 else record
        for record in make_records(TRUTH)
    ]
    folder = write_run(tmp_path, records, TRUTH, model=EVIL, warnings=[EVIL], server={"models": [EVIL], "block_size_tokens": 16})
    done = command("analysis", folder)
    assert done.returncode == 0, done.stderr
    page, text = ((folder / "report" / name).read_text() for name in ("report.html", "report.md"))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<script>" not in text
    assert "script" in Elements.of(page)
    assert "mathdefault" not in page
    assert Elements.links == []
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
