"""docs/README.md lists every page of the documentation, and README.md stays short."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.docs.pages import links, name, pages, prose


def test_the_table_of_contents_lists_every_page() -> None:
    contents = ROOT / "docs" / "README.md"
    listed = {(contents.parent / link.partition("#")[0]).resolve() for link in links(contents.read_text(encoding="utf-8"))}
    pages = {page for page in (ROOT / "docs").glob("*.md") if page != contents}
    assert pages - listed == set()


def test_readme_fits_into_120_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_lines_of_text_are_wrapped() -> None:
    """At 120 columns; tables, code and Chinese are not."""
    english = [page for page in pages() if "zh" not in str(page) and not {"decisions", "results"} & set(page.parts)]
    too_long = [
        f"{name(page)}: {line[:60]}"
        for page in english
        for line in prose(page.read_text(encoding="utf-8")).splitlines()
        if len(line) > 120 and not line.startswith(("|", "!["))
    ]
    assert too_long == []
