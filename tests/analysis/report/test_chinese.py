"""A run in Chinese: no English sentence is left on page and console, and files for programs stay as they are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest

from locust_kvcache.analysis.tables.console_lines import WIDTH, caveat, shortened
from locust_kvcache.contract.language import CHINESE, ENGLISH, use_language
from locust_kvcache.contract.text_width import width, wrap
from tests.analysis.synthetic import Truth, synthetic_run

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TRUTH = Truth(sessions=6, turns=5, noise=0.05, spread_tokens=200)
SENTENCE = re.compile(r"(?:\b[a-z]{2,} ){2}[a-z]{2,}\b")  # three English words in a row
NAMES = ("vllm bench serve",)
VERBATIM = r"<figcaption>运行条件</figcaption>.*?</figure>"  # what run.json holds


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    use_language(ENGLISH)


def english_sentences(text: str) -> list[str]:
    for name in NAMES:
        text = text.replace(name, "")
    return SENTENCE.findall(text)


def shown(page: str) -> str:
    """All texts of a page, also those of its charts."""
    page = re.sub(VERBATIM, "", page, flags=re.DOTALL)
    return unescape(re.sub(r"<(style|script|metadata)\b.*?</\1>|<[^>]*>", "\n", page, flags=re.DOTALL))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return synthetic_run(tmp_path / "demo", TRUTH)


def test_page_and_console_of_a_run(run: Path, command: Command) -> None:
    done = command("analysis", run, "--lang", "zh")
    assert done.returncode == 0, done.stderr
    assert english_sentences(done.stdout) == []
    assert max(width(line) for line in done.stdout.splitlines() if str(run) not in line) <= WIDTH  # a path is never cut
    assert "重复请求使平均 TTFT 降低" in done.stdout.replace("\n", "")
    page = (run / "report" / "report.html").read_text()
    assert '<html lang="zh-CN">' in page
    assert english_sentences(shown(page)) == []
    for text in ("可信程度", "目录", "结论数据", "平均 TTFT：冷与缓存命中"):
        assert text in page
    assert (
        english_sentences(re.sub(r"### 运行条件.*?\n\n.*?\n\n", "", (run / "report" / "report.md").read_text(), flags=re.DOTALL))
        == []
    )


def test_files_for_programs_are_the_same_in_every_language(run: Path, command: Command) -> None:
    made = {}
    for language in (ENGLISH, CHINESE):
        outputs = {name: run / f"out.{name}" for name in ("junit", "json", "summary")}
        options = [word for name, path in outputs.items() for word in (f"--{name}", path)]
        assert command("analysis", run, "--lang", language, *options).returncode == 0
        files = [
            run / "run.json",
            run / "stats.json",
            run / "records.jsonl",
            *outputs.values(),
            *sorted((run / "report" / "charts").glob("*.svg")),
        ]
        made[language] = {path.name: path.read_bytes() for path in files}
    assert made[ENGLISH] == made[CHINESE]


def test_a_report_from_stats_json_is_in_any_language(run: Path, tmp_path: Path, command: Command) -> None:
    """stats.json is English; the page that is made from it need not be."""
    command("analysis", run, "--no-report")
    done = command(
        "locust_kvcache.analysis.commands.generate_report",
        "--stats",
        run / "stats.json",
        "--output-dir",
        tmp_path / "zh",
        "--lang",
        "zh",
    )
    assert done.returncode == 0, done.stderr
    assert english_sentences(shown((tmp_path / "zh" / "report.html").read_text())) == []


# -- widths


def test_a_chinese_character_takes_two_columns() -> None:
    assert width("命中 1") == 6
    assert wrap("命中率命中率命中率", 6, 3, " ...") == ["命中率", "命中率", "命中率"]
    assert wrap("命中率命中率命中率", 10, 1, " ...") == ["命中率 ..."]
    assert wrap("只有 77.2 %。命中", 9, 3, " ...") == ["只有", "77.2 %。", "命中"]
    assert width(shortened("命中率" * 20, 21)) <= 21


def test_a_caveat_in_chinese_fits_its_line() -> None:
    use_language(CHINESE)
    row = {
        "severity": "warning",
        "text": "The server's token counts cannot be true: x.",
        "what_to_do": "Use more workers (--processes, --worker), or fewer users per worker.",
    }
    assert caveat(row).startswith("警告：")
    assert width(caveat(row)) <= WIDTH
