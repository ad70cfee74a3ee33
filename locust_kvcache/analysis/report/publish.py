"""Writes and prints the page of a study."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.analysis.report.files import write_page
from locust_kvcache.analysis.report.page import Page
from locust_kvcache.analysis.report.run_text import problems_text
from locust_kvcache.analysis.tables import text_tables
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.errors import BadInput


def publish(page: Page, folder: Path, png: bool) -> None:
    """Write the page and its charts, print its tables, what stands against them, the answer and where the files are."""
    try:
        files = write_page(page, folder, ("html", "markdown"), png)
    except OSError as error:
        raise BadInput(f"--output-dir: {folder} cannot be written: {error.strerror}; choose another folder") from error
    print(page_text(page))
    print("\nFiles\n" + "\n".join(f"  {path}" for path in files if path.suffix in (".html", ".md")), flush=True)


def page_text(page: Page) -> str:
    """The console's view of a page: its tables, what stands against them, the answer."""
    tables = [text_tables.console(block) for block in page.blocks if isinstance(block, Table)]
    against = problems_text({"problems": page.problems})
    return "\n\n".join([*tables, *([against] if against else []), page.lead])


def folder_beside(run: Path, name: str) -> Path:
    """Beside the first run of a study."""
    first = (run if run.is_dir() else run.parent).resolve()
    return first.parent / name
