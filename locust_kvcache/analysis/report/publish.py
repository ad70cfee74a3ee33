"""Writes the page of a study, and prints its short answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.report.files import write_page
from locust_kvcache.analysis.report.page import Page
from locust_kvcache.analysis.report.run_text import target_lines
from locust_kvcache.analysis.tables.console_lines import summary, where
from locust_kvcache.analysis.tables.run_tables import TARGETS
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.errors import BadInput


def publish(
    page: Page, folder: Path, png: bool, targets: Sequence[Mapping[str, Any]] = (), figures: tuple[str, Any] | None = None
) -> None:
    """Write the page, its charts and `figures` (a file's name, what it holds as JSON); print the answer, targets and where the page is.

    All files are there before the first line is printed: whoever reads the output may close it early (`| head`).
    """
    try:
        files = write_page(page, folder, ("html", "markdown"), png)
        if figures:
            (folder / figures[0]).write_text(json.dumps(plain(figures[1]), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--output-dir: {folder} cannot be written: {error.strerror}; choose another folder") from error
    print(page_text(page, targets))
    print(where(files), flush=True)


def page_text(page: Page, targets: Sequence[Mapping[str, Any]] = (), words: Mapping[str, str] | None = None) -> str:
    """The console's view of a page: the answer, one table, the targets in their `words`, the caveats."""
    told_in_lines = TARGETS if targets else None
    tables = page.short or tuple(block for block in page.blocks if isinstance(block, Table) and block.title != told_in_lines)[:1]
    lead = f"INCOMPLETE: {page.lead}" if page.incomplete else page.lead
    notes = tuple({"severity": "note", "text": text} for text in page.trust)
    lines = target_lines({}, [dict(row) for row in targets], words)
    return summary(lead, page.subtitle, tables, lines, (*page.problems, *notes))


def folder_beside(run: Path, name: str) -> Path:
    """Beside the first run of a study."""
    first = (run if run.is_dir() else run.parent).resolve()
    return first.parent / name
