"""Makes the sections of a run's report that other packages add, and one that defines their metrics (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

from locust_kvcache.analysis.basics.metrics import ADDED
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.report.page import Block, Section, section
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.extensions import METRICS, REPORT_SECTIONS, Extension, extensions


def added_sections(analysis: Analysis) -> Iterator[Section]:
    yield section("Metrics of other packages", [definitions()])
    for each in extensions(REPORT_SECTIONS).values():
        yield section(each.loaded.heading, _blocks(each, analysis))


def definitions() -> Table | None:
    """What each added metric is, and who adds it."""
    rows = [
        (metric.name, metric.unit, metric.definition, f"{each.package} {each.version}")
        for key, metric in ADDED.items()
        for each in [extensions(METRICS)[key]]
    ]
    header = ("metric", "unit", "definition", "package")
    return Table("Definitions", header, tuple(rows), texts=(1, 2, 3), verbatim=(1, 2, 3)) if rows else None


def _blocks(extension: Extension, analysis: Analysis) -> list[Block | None]:
    """A section that fails says so in its place, and works on a copy: the rest of the report stands."""
    own = replace(analysis, stats=deepcopy(analysis.stats), requests=analysis.requests.copy())
    try:
        blocks: list[Block | None] = [block for block in extension.loaded.blocks(own) if block is not None]
    except (Exception, SystemExit) as error:
        return [f"The section of {extension.package} failed: {type(error).__name__}: {error}"]
    wrong = next((block for block in blocks if not isinstance(block, Table | str)), None)
    if wrong is not None:
        return [f"The section of {extension.package} has a block of type {type(wrong).__name__}; expected Table or text."]
    return blocks
