"""The documentation as the tests read it: its pages, their links and headings, and the commands that stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

NOT_SHELL = ("python", "yaml", "mermaid", "json", "html")  # languages of fenced blocks that hold no commands
PROGRAM = re.compile(r"(?:^|[\s;&|(])(locust-kvcache|locust|python -m (?:analysis|locust_kvcache)[\w.]*)(?:\s+([^;&|()]*)|$)")


@dataclass(frozen=True)
class Command:
    """A command as a page gives it: `program` is locust, locust-kvcache or python -m MODULE."""

    page: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.program} {' '.join(self.words)}"

    @property
    def options(self) -> list[str]:
        return [word.split("=")[0] for word in self.words if re.match(r"--[a-z]", word)]


def pages() -> list[Path]:
    """All that people wrote; reports of published runs are made by the product."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").rglob("*.md"),
             *(ROOT / "locust_kvcache").rglob("*.md")]  # fmt: skip
    return sorted(page for page in found if page.name not in ("report.md", "CHANGELOG.md"))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """The page without its fenced and indented blocks."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def shell_lines(text: str) -> list[str]:
    """The lines of code blocks, continued ones joined, without the comments that stand behind them."""
    blocks: list[str] = []
    language: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            language = None if language is not None else line[3:].strip()
        elif (language is None and line.startswith("    ")) or (language is not None and language not in NOT_SHELL):
            blocks.append(line.strip())
    joined = re.sub(r"\\\n\s*", "", "\n".join(blocks)).splitlines()
    return [line for each in joined if (line := re.split(r"(?:^|\s)#\s|\s{3,}", each.strip())[0].strip())]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def commands(page: Path) -> Iterator[Command]:
    """Every start of Locust or of this product, in blocks and in running text."""
    text = page.read_text(encoding="utf-8")
    for line in [*shell_lines(text), *code_spans(text)]:
        for program, words in PROGRAM.findall(re.sub(r"\"[^\"]*\"|'[^']*'", _unquoted, line)):
            yield Command(name(page), program, tuple(words.split()))


def _unquoted(quoted: re.Match[str]) -> str:
    """One word stands as it is; several, or what ends a command in a shell, become a word that stands for them."""
    said = quoted.group()[1:-1]
    return said if re.fullmatch(r"[^\s;&|()]+", said) else "WORDS"


def table_commands(text: str) -> list[str]:
    """The code spans of all tables that are commands or options, in their order."""
    spans = [span for line in text.splitlines() if line.startswith("|") for span in re.findall(r"`([^`]+)`", line)]
    return [span for span in spans if re.match(r"--[a-z]|-u |locust|python |from |/|\w+\.(yml|yaml)|configs/", span)]


def links(text: str) -> list[str]:
    """Where the page's links and pictures lead, but for other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the page's headings in links."""
    lines = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M).splitlines()
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()) for line in lines if re.match(r"#{1,6} ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
