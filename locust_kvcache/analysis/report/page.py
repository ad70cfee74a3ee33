"""Defines what a report consists of: a Page of sections with tables, charts and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from locust_kvcache.analysis.charts.figures import Chart
from locust_kvcache.analysis.tables.table import Table


@dataclass(frozen=True)
class Fold:
    """Details that a reader opens: closed in HTML, a smaller heading in Markdown."""

    title: str
    blocks: tuple[Table | Chart | str, ...]


Block = Table | Chart | str | Fold


@dataclass(frozen=True)
class Section:
    """Closed in HTML unless `is_open`: a report is read from its first screen down."""

    heading: str
    blocks: tuple[Block, ...]
    is_open: bool = False

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """`lead`, `chart`, `table` (small, below the chart), `problems` (rows of stats.json) and `trust` make the first screen: what came
    out and how far to trust it.

    `details` say the lead per scenario; they and `answer` are the first section. `short` are the tables of the console, where they
    are not the page's first.
    """

    title: str
    subtitle: str
    lead: str
    details: tuple[str, ...]
    answer: tuple[Block, ...]
    problems: tuple[dict[str, Any], ...]
    sections: tuple[Section, ...]
    incomplete: bool
    chart: Chart | None = None
    table: Table | None = None
    trust: tuple[str, ...] = ()
    short: tuple[Table, ...] = ()

    @property
    def charts(self) -> list[Chart]:
        drawn = [] if self.chart is None else [self.chart]
        every = [*self.answer, *(block for section in self.sections for block in section.blocks)]
        return [*drawn, *(block for block in _flat(every) if isinstance(block, Chart))]

    @property
    def blocks(self) -> list[Table | Chart | str]:
        """Everything below the first screen, without folds."""
        return list(_flat([*self.answer, *(block for section in self.sections for block in section.blocks)]))


def _flat(blocks: Iterable[Block]) -> Iterator[Table | Chart | str]:
    for block in blocks:
        if isinstance(block, Fold):
            yield from block.blocks
        else:
            yield block


def section(heading: str, blocks: Iterable[Block | None], is_open: bool = False) -> Section:
    """A section without the blocks that have nothing to show."""
    return Section(heading, tuple(block for block in blocks if block is not None and _shows(block)), is_open)


def fold(title: str, blocks: Iterable[Table | Chart | str | None]) -> Fold:
    """A fold without the blocks that have nothing to show."""
    return Fold(title, tuple(block for block in blocks if block is not None and _shows(block)))


def _shows(block: Block) -> bool:
    if isinstance(block, Table):
        return bool(block.rows)
    return bool(block.blocks) if isinstance(block, Fold) else block != ""
