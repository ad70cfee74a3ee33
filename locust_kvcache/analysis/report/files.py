"""Writes the files of a page: one self-contained HTML file, Markdown, and the charts as SVG and PNG."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from locust_kvcache.analysis.charts.figures import COLOURS, Chart
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.report.caveats import caveats
from locust_kvcache.analysis.report.page import Fold, Page, Section, section
from locust_kvcache.analysis.report.run_page import run_page
from locust_kvcache.analysis.tables import text_tables
from locust_kvcache.analysis.tables.table import Table, told_table
from locust_kvcache.contract.language import HTML_LANGUAGES, language, told
from locust_kvcache.contract.text_width import width, wrap

NARROW = 14  # columns of a table's first column, up to which it takes no more room than it needs
FORMATS = ("html", "markdown")
MARKDOWN_COLUMNS = 120


def write_report(analysis: Analysis, output_dir: Path, formats: Iterable[str], charts: bool, png: bool = False) -> list[Path]:
    """Write one run's report; the files written, the readable ones first."""
    return write_page(run_page(analysis, charts), output_dir, formats, png)


def write_page(page: Page, output_dir: Path, formats: Iterable[str], png: bool = False) -> list[Path]:
    """HTML holds its charts; Markdown points at the files beside it."""
    output_dir.mkdir(parents=True, exist_ok=True)
    written = []
    if "html" in formats:
        written.append(output_dir / "report.html")
        written[-1].write_text(render_html(page), encoding="utf-8")
    if "markdown" in formats:
        written.append(output_dir / "report.md")
        written[-1].write_text(render_markdown(page), encoding="utf-8")
    return written + write_charts(page.charts, output_dir / "charts", png)


def write_charts(charts: list[Chart], folder: Path, png: bool = False) -> list[Path]:
    """Every chart as SVG, and as PNG if `png`: that takes as long again."""
    if charts:
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in charts:
        written.append(folder / f"{chart.name}.svg")
        written[-1].write_text(chart.svg, encoding="utf-8")
        if png:
            written.append(folder / f"{chart.name}.png")
            written[-1].write_bytes(chart.png)
    return written


def render_html(page: Page) -> str:
    """Everything that servers or people wrote is escaped by the template; only our own SVG is passed as it is."""
    template = _template("report.html.j2")
    resources = files("locust_kvcache.analysis.report") / "templates"
    return template.render(
        page=page,
        html_language=HTML_LANGUAGES[language()],
        _=told,
        width=width,
        colours=COLOURS,
        css=Markup((resources / "report.css").read_text(encoding="utf-8")),
        script=Markup((resources / "sort.js").read_text(encoding="utf-8")),
        is_table=lambda block: isinstance(block, Table),
        is_narrow=lambda table: all(width(told(row[0])) <= NARROW for row in table.rows),
        is_chart=lambda block: isinstance(block, Chart),
        is_fold=lambda block: isinstance(block, Fold),
        sections=sections_of(page),
        caveats=caveats(page.problems),
        sentence=_sentence,
        mood=_mood,
        svg=lambda chart: Markup(chart.inline_svg),
    )


def sections_of(page: Page) -> list[Section]:
    """The answer in figures, open; then the page's own sections."""
    answer = section("The answer in figures", page.answer, is_open=True)
    return [*([answer] if answer.blocks else []), *page.sections]


def _sentence(text: str) -> str:
    """A rule as a sentence of its own."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _mood(cell: str) -> str:
    """The class of a cell that holds a verdict; the word itself says the same without colour."""
    if cell == "better" or cell.startswith("PASS"):
        return "good"
    return "bad" if cell.startswith(("FAIL", "worse", "client-limited", "differs: not")) else ""


UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|x|GB/s|tokens/s|requests/s|sessions/s)(?![\w/]))")
CODE = re.compile(r"`([^`]+)`")


def _unbroken(value: Any) -> Any:
    """A number and its unit stay on one line."""
    return UNIT.sub("\u00a0", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A line may end inside of a long name, behind an underscore."""
    return Markup(str(escape(_unbroken(text))).replace("_", "_<wbr>"))


def _coded(text: str) -> Markup:
    """What stands between backquotes as code; the rest escaped."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(_unbroken(text)))))


def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_unbroken
    )
    environment.filters |= {"coded": _coded, "breakable": _breakable}
    return environment.from_string((files("locust_kvcache.analysis.report") / "templates" / name).read_text(encoding="utf-8"))


def render_markdown(page: Page) -> str:
    """The same page as Markdown, without HTML."""
    escape = text_tables.escape_markdown
    lines = [f"# {escape(told(page.title))}", "", escape(told(page.subtitle)), ""]
    if page.incomplete:
        lines += [f"**{told('This run is incomplete: its figures are those of a part.')}**", ""]
    lines += [*_prose(f"**{escape(told(page.lead))}**"), "", *(_markdown_block(page.chart) if page.chart else []),
              *(_markdown_block(page.table) if page.table else [])]  # fmt: skip
    if kinds := caveats(page.problems).kinds:
        lines += [f"## {told('Read before use')}", "", *(line for row in kinds for line in _problem(row)), ""]
    if page.trust:
        lines += [
            f"## {told('How far to trust it')}",
            "",
            *(line for text in page.trust for line in _item(escape(told(text)))),
            "",
        ]
    for part in sections_of(page):
        lines += [f"## {escape(told(part.heading))}", ""]
        lines += [line for block in part.blocks for line in _markdown_block(block)]
    return "\n".join(lines)


def _prose(text: str) -> list[str]:
    """A paragraph in lines that read well as they are."""
    return wrap(text, MARKDOWN_COLUMNS, len(text) or 1, "")


def _item(text: str) -> list[str]:
    """An item of a list; its later lines stand below the first one's text."""
    first, *others = wrap(text, MARKDOWN_COLUMNS - 2, len(text) or 1, "") or [""]
    return [f"- {first}", *(f"  {line}" for line in others)]


def _problem(row: dict[str, Any]) -> list[str]:
    more = told(f"And {row['more']} more of this kind.") if row["more"] else ""
    said = " ".join(text for text in (told(row["text"]), told(row["what_to_do"]), more) if text)
    return _item(f"**{told(row['severity'])}**: {text_tables.escape_markdown(said)}")


def _markdown_block(block: Any) -> list[str]:
    if isinstance(block, Table):
        return [text_tables.markdown(told_table(block)), ""]
    if isinstance(block, Fold):
        return [
            f"### {text_tables.escape_markdown(told(block.title))}",
            "",
            *(line for one in block.blocks for line in _markdown_block(one)),
        ]
    if isinstance(block, Chart):
        alt = text_tables.escape_markdown(f"{told(block.title)}. {told(block.text)}")
        return [*_prose(f"![{alt}](charts/{block.name}.svg)"), ""]
    return [*_prose(text_tables.escape_markdown(told(block))), ""]
