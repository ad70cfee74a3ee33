"""What the first screen of a report holds, that nothing is wider than the page, and which texts never appear on one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from locust_kvcache.analysis.across_runs.run_comparison import compare_runs
from locust_kvcache.analysis.commands.repeats import repeats_page
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.report.caveats import caveats, merged
from locust_kvcache.analysis.report.comparison_page import comparison_page
from locust_kvcache.analysis.report.files import render_html, render_markdown
from locust_kvcache.analysis.report.page import Page
from locust_kvcache.analysis.report.publish import page_text
from locust_kvcache.analysis.report.run_page import run_page
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.report.sweep_page import by_users, sweep_page
from locust_kvcache.analysis.tables.console_lines import WIDTH
from locust_kvcache.analysis.tables.table import Table, find
from locust_kvcache.contract import text_width
from locust_kvcache.contract.language import CHINESE, ENGLISH, use_language
from tests.analysis.recorded import recorded_run
from tests.analysis.report.test_chinese import english_sentences, shown
from tests.analysis.synthetic import Truth, make_records, synthetic_run, write_run
from tests.monitoring.chrome import BINARY, Tab, chromium

pytestmark = pytest.mark.slow  # pages of whole runs

TRUTH = Truth(sessions=6, turns=5, noise=0.05, spread_tokens=200)
PD = {"name": "lab_pd", "kind": "pd_disagg", "gpus": 2}
SINGLE = {"name": "lab_single", "kind": "non_disagg", "gpus": 1}
KINDS = ("run", "arms", "comparison", "repeats", "sweep")
WARNINGS = tuple({"severity": "warning", "code": f"code{i}", "text": f"Caveat {i}.", "what_to_do": "Mend it."} for i in range(9))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    root = tmp_path_factory.mktemp("pages")

    def analysed(name: str, slower_ms: float = 0.0, **info: object) -> Analysis:
        truth = TRUTH.but(run_id=name, fixed_ms=TRUTH.fixed_ms + slower_ms, seed=len(name))
        return analyse_folder(synthetic_run(root / name, truth, **info))

    single = [analysed(f"s{i}", deployment=SINGLE) for i in range(2)]
    pd_runs = [analysed(f"p{i}", 9000.0, deployment=PD) for i in range(2)]
    levels = by_users([single[0].stats, analysed("u5", users=5, deployment=SINGLE).stats])
    arms = analyse_folder(recorded_run(root / "arms", sorted(path.name for path in FIXTURES.glob("*.jsonl"))[0]))
    return {
        "run": run_page(single[0], charts=True),
        "arms": run_page(arms, charts=True),
        "comparison": comparison_page(compare_runs([single[0], pd_runs[0]])),
        "repeats": repeats_page([*single, *pd_runs]),
        "sweep": sweep_page(levels),
    }


FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "h200"


@pytest.fixture(scope="module")
def htmls(pages: dict[str, Page]) -> dict[str, str]:
    """Each page drawn once."""
    return {kind: render_html(page) for kind, page in pages.items()}


def visible(page: str) -> str:
    """The words of a page, without style, script and drawings."""
    without = re.sub(r"<(style|script|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", " ", without)).replace("\u00a0", " ")


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_shows_what_only_programs_read(pages: dict[str, Page], htmls: dict[str, str], kind: str) -> None:
    for text in (visible(htmls[kind]), render_markdown(pages[kind])):
        for pattern in (r"\bNone\b", r"\bnan\b", r"\{['\"]", r"\b1 (users|rounds|runs|scenarios|requests|pairs) ", r"\d\.\d{5,}"):
            assert not re.findall(f".{{0,60}}{pattern}.{{0,30}}", text), pattern
        assert not re.findall(r"[+−]\d{1,3},\d{3}", text), "a change of more than 1,000 % is a factor"
        assert "Split a" not in text
        assert "cold proven" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_in_chinese_no_english_sentence_is_left(pages: dict[str, Page], kind: str) -> None:
    use_language(CHINESE)
    try:
        html, text = render_html(pages[kind]), page_text(pages[kind])
    finally:
        use_language(ENGLISH)
    assert english_sentences(shown(html)) == []
    assert english_sentences(text) == []
    assert max(map(text_width.width, text.splitlines())) <= WIDTH


def test_verdict_chart_caveats_and_contents_come_in_this_order(htmls: dict[str, str]) -> None:
    for kind, html in htmls.items():
        places = [
            html.index(mark)
            for mark in ('class="lead', "<svg", 'class="caveats"', '<nav aria-label="Contents"', 'id="the-answer-in-figures"')
        ]
        assert places == sorted(places), kind


def test_a_run_of_one_round_says_and_shows_what_was_measured(tmp_path: Path) -> None:
    records = [record for record in make_records(TRUTH) if record.round == 1]
    rounds = [{"scenario": TRUTH.scenario, "round": 1, "planned_requests": 30, "records": 30, "wall_s": 1.0, "complete": True}]
    folder = write_run(tmp_path, records, TRUTH, rounds=rounds, rounds_planned={TRUTH.scenario: 1})
    analysed = analyse_folder(folder)
    page = run_page(analysed, charts=True)
    console = run_text(analysed.stats)
    for row in ("TTFT, ms", "TPOT, ms", "E2E latency, ms", "throughput, requests/s", "hit rate"):
        assert re.search(rf"^  {row} +[\d,.]+", console, re.MULTILINE), console
    assert "later rounds" not in console
    assert re.search(r"mean TTFT [\d,.]+ ms", page.lead), page.lead
    assert "There is one round" in page.lead
    assert page.chart is not None
    names = [chart.name for chart in page.charts]
    assert len(names) == len(set(names))
    assert not [text for text in page.trust if "control" in text]


def test_a_late_load_generator_is_said_once_and_then_referred_to(tmp_path: Path) -> None:
    records = [replace(record, client_limited=record.round == 2, loop_lag_ms=62.8) for record in make_records(TRUTH)]
    analysed = analyse_folder(write_run(tmp_path, records, TRUTH))
    page = run_page(analysed, charts=False)
    first = "\n".join([page.lead, *(row["text"] for row in page.problems), *page.trust])
    for text in (first, " ".join(run_text(analysed.stats).split("not judged")[0].split())):
        assert text.count("62.8 ms") == 1, text
        assert text.count("the load generator was late") == 1, text
    assert page.lead.endswith("were read late). So no target could be judged.")
    (late,) = [row for row in page.problems if row["code"] == "client_limited"]
    assert late["text"] == f"Round 2 of {TRUTH.scenario} is client-limited (above)."
    assert late["what_to_do"].startswith("Use more workers")
    assert "Rounds with a late load generator: 1 of 2 (above)." in page.trust
    assert "its times are not valid: P90 of the event-loop lag" in str(analysed.stats["problems"]), "stats.json says it in full"


def test_repeats_of_one_round_say_what_was_measured(tmp_path: Path) -> None:
    """Mean TTFT 180 and 189 ms: a geometric mean between them, an interval over two runs, and no word of a hit."""
    runs = [
        analyse_folder(synthetic_run(tmp_path / f"r{i}", TRUTH.but(run_id=f"r{i}", rounds=1, seed=i), deployment=SINGLE))
        for i in (1, 2)
    ]
    page = repeats_page(runs)
    means = sorted(find(run.stats["distributions"], split="round", metric="ttft_ms")[0]["mean"] for run in runs)
    found = re.search(
        r"mean TTFT (\d+) \[\d+, \d+\] ms, TPOT [\d.]+ \[[\d., ]+\] ms, [\d.]+ \[[\d., ]+\] requests/s, over 2 runs", page.lead
    )
    assert found, page.lead
    assert round(means[0]) <= int(found[1]) <= round(means[1])
    assert page.lead.endswith("There is no second round, so nothing is known about hits.")
    assert page.short[0].rows
    assert "over 2 runs" in page_text(page)
    pair = [*runs, *(analyse_folder(synthetic_run(tmp_path / f"p{i}", TRUTH.but(run_id=f"p{i}", rounds=1, seed=i), deployment=PD))
                     for i in (1, 2))]  # fmt: skip
    assert repeats_page(pair).lead.endswith("There is no second round, so nothing is known about hits.")


def test_pd_and_single_and_factors(pages: dict[str, Page]) -> None:
    lead = pages["comparison"].lead
    assert re.search(r"PD is [\d.]+ x slower than single when cold \(mean TTFT [\d,.]+ against [\d,.]+ ms\)", lead), lead
    assert "lab_pd" not in pages["repeats"].lead
    assert "PD" in pages["repeats"].lead


def test_equal_warnings_are_said_once() -> None:
    same = {**WARNINGS[0]}
    (one,) = merged([("1 user", [same]), ("5 users", [same])])
    assert one["text"] == "1 user and 5 users: Caveat 0."
    found = caveats([*WARNINGS, WARNINGS[0], {**WARNINGS[0], "text": "Caveat 0 again."}])
    assert [row["text"] for row in found.shown] == [f"Caveat {i}." for i in range(4)]
    assert found.shown[0]["more"] == 1
    assert found.summary == "Also: 6 warnings"


def test_every_error_is_shown() -> None:
    errors = [{**row, "severity": "error"} for row in WARNINGS]
    assert len(caveats([*errors, *WARNINGS]).shown) == len(errors)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if BINARY is None:
        pytest.skip("no Chromium")
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as tab:
        yield tab


def opened(tab: Tab, folder: Path, html: str, width: int) -> None:
    path = folder / "page.html"
    path.write_text(html)
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    tab.open(f"file://{path}")


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_browser(browser: Tab, htmls: dict[str, str], kind: str, tmp_path: Path) -> None:
    opened(browser, tmp_path, htmls[kind], 1400)
    for part in (".lead", ".first svg", ".caveats"):
        bottom = browser.js(f"document.querySelector('{part}').getBoundingClientRect().bottom")
        assert bottom <= 900, (part, bottom)
    for width in (1400, 800, 390):
        opened(browser, tmp_path, htmls[kind], width)
        browser.js("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert browser.js("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('.scroll')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
        assert browser.js(wide) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_chart_fits_a_phone_and_can_be_read(browser: Tab, htmls: dict[str, str], kind: str, tmp_path: Path) -> None:
    opened(browser, tmp_path, htmls[kind], 390)
    charts = "[...document.querySelectorAll('.first figure.chart')].filter(e => e.getClientRects().length)"
    assert browser.js(f"{charts}.length") == 1, "the one for phones"
    assert browser.js(f"{charts}[0].scrollWidth - {charts}[0].clientWidth") <= 0
    box = f"{charts}[0].querySelector('svg').getBoundingClientRect()"
    texts = f"[...{charts}[0].querySelectorAll('text')].filter(e => getComputedStyle(e).visibility !== 'hidden')"
    assert browser.js(f"Math.max(...{texts}.map(e => e.getBoundingClientRect().right)) - {box}.right") <= 3
    assert browser.js(f"{box}.left - Math.min(...{texts}.map(e => e.getBoundingClientRect().left))") <= 3
    pixels = f"parseFloat(getComputedStyle(e).fontSize) * {box}.width / {charts}[0].querySelector('svg').viewBox.baseVal.width"
    assert browser.js(f"Math.min(...{texts}.map(e => {pixels}))") >= 9.5
    opened(browser, tmp_path, htmls[kind], 800)
    assert browser.js(f"{charts}.length") == 1
    assert browser.js(f"{charts}[0].closest('.phone') === null")
    browser.js("document.querySelectorAll('style, link').forEach(part => part.remove())")
    assert browser.js(f"{charts}.length") == 1, "also for a reader that leaves the styles out"


def test_a_long_name_ends_its_line_behind_an_underscore(htmls: dict[str, str]) -> None:
    assert '<th scope="row">a_<wbr>b &amp; &lt;c&gt;</th>' in render_html(
        Page("t", "", "", (), (Table("t", ("", "n"), (("a_b & <c>", "1"),)),), (), (), False)
    )
    assert "long_context_high_reuse</h2>" in htmls["run"]


def test_a_link_of_the_contents_opens_its_part(browser: Tab, htmls: dict[str, str], tmp_path: Path) -> None:
    opened(browser, tmp_path, htmls["run"], 1400)
    browser.js("document.querySelector('nav li:last-child a').click()")
    assert browser.js("document.querySelector('details.section:last-of-type').open")
