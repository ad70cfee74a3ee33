"""Formats tables as aligned text for the console and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from locust_kvcache.analysis.tables.table import Table


def console(table: Table, indent: str = "  ") -> str:
    """Columns aligned with spaces: the first to the left, the others to the right; the rule and the notes below."""
    if not table.rows:
        return ""
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]

    def render(line: tuple[str, ...]) -> str:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        return (indent + "  ".join(cells)).rstrip()

    below = [f"{indent}({text})" for text in (table.rule, *table.notes) if text]
    return "\n".join([table.title, *(render(line) for line in lines if any(line)), *below])


def markdown(table: Table, level: int = 3) -> str:
    """A pipe table; cells are escaped, as they may hold what a server said."""
    if not table.rows:
        return ""

    def render(cells: Iterable[str]) -> str:
        return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"

    rule = "| :-- |" + " --: |" * (len(table.header) - 1)
    below = [f"_{escape_markdown(text)}_" for text in (table.rule, *table.notes) if text]
    title = [f"{'#' * level} {escape_markdown(table.title)}", ""] if table.title else []
    return "\n".join([*title, render(table.header), rule, *map(render, table.rows), "", *below])


def escape_markdown(text: str) -> str:
    """Text of foreign origin as plain Markdown: no table cell, tag, link or emphasis can be opened by it."""
    flat = " ".join(str(text).split())
    for character in "\\`*_[]|":
        flat = flat.replace(character, "\\" + character)
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
