"""docs/README.md lists every page of the documentation, and README.md stays short."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.docs.pages import links


def test_the_table_of_contents_lists_every_page() -> None:
    contents = ROOT / "docs" / "README.md"
    listed = {(contents.parent / link.partition("#")[0]).resolve() for link in links(contents.read_text(encoding="utf-8"))}
    pages = {page for page in (ROOT / "docs").glob("*.md") if page != contents}
    assert pages - listed == set()


def test_readme_fits_into_120_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
