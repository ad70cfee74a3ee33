"""Fits an answer onto a console of at most 25 lines and 100 columns. What does not fit is cut; the report has it in full."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.tables.table import Table, told_table
from locust_kvcache.contract.language import told
from locust_kvcache.contract.text_width import cut, left, right, width, wrap

WIDTH = 100
LINES = 22  # of an answer; where the report is, and what is being done meanwhile, take three more
LEAD_LINES = 4
FEWEST_CAVEATS = 3
LEAST_TABLE = 7
FOLDERS = re.compile(r"(?<!\S)/\S*/(?=\S)")  # before the name of a file
LEAST_CLAUSE = 6  # blanks
LEAST_TEXT = 62  # of what was seen, where both are cut
CUT = " ..."
WIDE = re.compile(r"[\u2e80-\uffef]")
MORE = "in the report"


def summary(lead: str, facts: str, tables: Sequence[Table], targets: Sequence[str], problems: Sequence[Mapping[str, Any]]) -> str:
    """The answer, what was run, one or more tables, the targets, the caveats."""
    head = wrapped(told(lead), LEAD_LINES) + (wrapped(told(facts), 2) if facts else [])
    kept = head + list(targets)
    room = LINES - len(kept) - min(len(problems), FEWEST_CAVEATS + 1) - 3  # a blank line before each part
    tabled = table_lines(tables, max(room, LEAST_TABLE))
    caveats = caveat_lines(problems, max(LINES - len(kept) - len(tabled) - 3, FEWEST_CAVEATS))
    parts = [part for part in (head, tabled, list(targets), caveats) if part]
    lines = "\n\n".join("\n".join(part) for part in parts).split("\n")
    return "\n".join(lines if len(lines) <= LINES else [line for line in lines if line])


def wrapped(text: str, most: int) -> list[str]:
    return wrap(text, WIDTH, most, f"{CUT} ({told(MORE)})")


def shortened(text: str, columns: int) -> str:
    """Cut at the last word that fits, or within it where a long word would be lost."""
    flat = " ".join(text.split())
    if width(flat) <= columns:
        return flat
    kept = cut(flat, max(columns - len(CUT), 0))
    space = kept.rfind(" ")
    return (kept[:space] if space > max(len(kept) - 20, 0) else kept).rstrip(" ,;:(，；：（") + CUT


# -- where the report is


def where(files: Iterable[Path]) -> str:
    """The page that a person opens, from the folder that they are in."""
    found = list(files)
    shown = next((path for path in found if path.suffix == ".html"), None) or next(iter(found), None)
    return "" if shown is None else "\n" + told(f"Report: {near(shown)}")


def near(path: Path) -> Path:
    """Without the working folder, where the path lies in it."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


# -- tables


def table_lines(tables: Iterable[Table], most: int) -> list[str]:
    """The rows of all tables, the first lines of them where they are too many."""
    lines: list[str] = []
    for table in tables:
        if table.rows:
            lines += rendered(fitted(told_table(table)))
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], "  (" + told(f"{plural(len(lines) - most + 1, 'more line')} {MORE}") + ")"]


def fitted(table: Table) -> Table:
    """Without the last columns that do not fit; a first column that is too wide is cut."""
    rows = tuple((shortened(row[0], 40), *row[1:]) for row in table.rows)
    shown = replace(table, rows=rows)
    while len(shown.header) > 2 and _width(shown) > WIDTH:
        shown = replace(shown, header=shown.header[:-1], rows=tuple(row[:-1] for row in shown.rows))
    return shown


def _widths(table: Table) -> list[int]:
    return [max(width(line[column]) for line in (table.header, *table.rows)) for column in range(len(table.header))]


def _width(table: Table) -> int:
    return sum(_widths(table)) + 2 * len(table.header)


def rendered(table: Table) -> list[str]:
    """The title is the first column's heading: a table takes its rows and one line."""
    named = replace(table, header=(shortened(table.title, 48) if not table.header[0] else table.header[0], *table.header[1:]))
    widths = _widths(named)
    if sum(widths) + 2 * len(widths) > WIDTH:  # the title is wider than the column
        room = WIDTH - sum(widths[1:]) - 2 * len(widths)
        named = replace(named, header=(shortened(named.header[0], max(room, 8)), *named.header[1:]))
        widths = _widths(named)

    def line(cells: tuple[str, ...]) -> str:
        aligned = [
            left(cell, columns) if column == 0 or column in table.texts else right(cell, columns)
            for column, (cell, columns) in enumerate(zip(cells, widths, strict=True))
        ]
        return cut(("  " + "  ".join(aligned)).rstrip(), WIDTH)

    return [line(named.header), *(line(row) for row in named.rows)]


# -- caveats


def caveat_lines(problems: Sequence[Mapping[str, Any]], most: int) -> list[str]:
    """One line each, the gravest first; equal ones once. An error or a warning that one line would cut takes two, before the notes."""
    shown: dict[str, Mapping[str, Any]] = {}
    for row in problems:
        shown.setdefault(caveat(row), row)
    blocks = [[line] for line in shown]
    grave = [place for place, row in enumerate(shown.values()) if row["severity"] != "note"]
    room = most - len(grave) - (len(grave) < len(blocks))
    for place, (line, row) in enumerate(shown.items()):
        if place in grave and line != _whole(row) and room > 0:
            blocks[place] = in_two_lines(row)
            room -= len(blocks[place]) - 1
    if sum(map(len, blocks)) <= most:
        return [line for block in blocks for line in block]
    while blocks and sum(map(len, blocks)) > most - 1:
        blocks.pop()
    more = told(f"{plural(len(shown) - len(blocks), 'more caveat')} {MORE}")
    return [*(line for block in blocks for line in block), more]


def in_two_lines(row: Mapping[str, Any]) -> list[str]:
    """What was seen and what to do, in full where two lines hold it."""
    first, *rest = wrap(_whole(row), WIDTH - 2, 2, f"{CUT} ({told(MORE)})")
    return [first, *(f"  {line}" for line in rest)]


def caveat(row: Mapping[str, Any]) -> str:
    """warning: what was seen. What to do. Where that does not fit: the first clause, and the first thing to do."""
    head, text, way = _parts(row)
    room = WIDTH - width(head)
    if not way:
        return head + (_stopped(text) if width(text) < room - 1 else shortened(text, room))
    for said, done in ((text, way), (text, first_sentence(way)), (first_clause(text), first_sentence(way))):
        if width(said) + width(done) + 2 <= room:
            return f"{head}{_spaced(_stopped(said))}{done}".rstrip()
    said = shortened(first_clause(text), max(room - width(first_sentence(way)) - 2, LEAST_TEXT))
    stopped = said if said.endswith(CUT) else _stopped(said)
    return f"{head}{_spaced(stopped)}{shortened(first_sentence(way), room - width(stopped) - 1)}".rstrip()


def _whole(row: Mapping[str, Any]) -> str:
    """Uncut."""
    head, text, way = _parts(row)
    return f"{head}{_spaced(_stopped(text))}{way}".rstrip()


def _parts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """`warning: `, what was seen, what to do."""
    text = FOLDERS.sub("", str(row["text"])).strip().rstrip(".")
    return told(f"{row['severity']}: "), told(text), told(str(row.get("what_to_do") or "").strip())


def _spaced(text: str) -> str:
    """With a blank behind it, where its script has one."""
    return text if WIDE.search(text[-1:]) else f"{text} "


def _stopped(text: str) -> str:
    """With a full stop, the one of its script."""
    return f"{text}。" if WIDE.search(text) else f"{text}."


def first_sentence(text: str) -> str:
    found = re.search(r"\. |。(?=.)", text)
    return text if found is None else text[: found.start() + 1]


def first_clause(text: str) -> str:
    """Up to a colon, a semicolon, a comma or a bracket, where more than six words are said before it. No list of counts is cut."""
    ends = (match.start() for match in re.finditer(r"[:;.] |, (?!\d+ x )| \(|[：；，。（]", text))
    return text[: next((end for end in ends if _says_enough(text[:end]) and _closed(text[:end])), len(text))]


def _closed(text: str) -> bool:
    """Whether it ends outside of brackets."""
    return text.count("(") + text.count("（") <= text.count(")") + text.count("）")


def _says_enough(text: str) -> bool:
    return text.count(" ") >= LEAST_CLAUSE or len(WIDE.findall(text)) >= 2 * LEAST_CLAUSE
