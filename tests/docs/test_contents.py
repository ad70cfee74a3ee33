"""docs/README.md lists every page, README.md stays short, lines are wrapped, and riddles do not come back."""

from __future__ import annotations

from locust_kvcache.cli.contents import COMMANDS
from locust_kvcache.loadgen.options.declared import OPTIONS
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


RIDDLES = (
    "a cut run", "let only some people in", "meant as", "client believable", "smallest effect", "users are not there", "has no one load",
    "must cover what is in flight", "does it carry, and how much does it hold", "lie inside each other", "no slow form",
    "counters after - before", "can gain", "the deployment, or the day", "what stands against", "what came of", "the way out of it",
)  # fmt: skip


def test_riddles_do_not_come_back() -> None:
    """Phrases that had to be read twice, in the pages, the help, docstrings and messages."""
    texts = {name(page): page.read_text(encoding="utf-8") for page in pages() if not {"decisions", "results"} & set(page.parts)}
    texts["--help of options"] = "\n".join(option.help for option in OPTIONS)
    texts["--help of commands"] = "\n".join(command.about for command in COMMANDS)
    texts["docstrings and messages"] = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "locust_kvcache").rglob("*.py")
    )
    found = {(where, riddle) for where, text in texts.items() for riddle in RIDDLES if riddle in " ".join(text.lower().split())}
    assert found == set()
