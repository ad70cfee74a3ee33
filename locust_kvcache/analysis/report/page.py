"""Defines what a report consists of: a Page of sections with tables, charts and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.charts.figures import Chart
from locust_kvcache.analysis.tables.table import Table

Block = Table | Chart | str


@dataclass(frozen=True)
class Section:
    heading: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """`lead` answers the question, `details` say it per scenario; `problems` are rows of stats.json."""

    title: str
    subtitle: str
    lead: str
    details: tuple[str, ...]
    answer: tuple[Block, ...]
    problems: tuple[dict[str, Any], ...]
    sections: tuple[Section, ...]
    incomplete: bool

    @property
    def charts(self) -> list[Chart]:
        blocks = [*self.answer, *(block for section in self.sections for block in section.blocks)]
        return [block for block in blocks if isinstance(block, Chart)]


def section(heading: str, blocks: Iterable[Block | None]) -> Section:
    """A section without the blocks that have nothing to show."""
    return Section(heading, tuple(b for b in blocks if b is not None and not (isinstance(b, Table) and not b.rows) and b != ""))
