"""A section of the report of a run: tables and paragraphs, made from the analysis."""

from __future__ import annotations

from collections.abc import Iterator

from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.extensions import ReportSection


def slowest(analysis: Analysis) -> Iterator[Table | str]:
    """`analysis.requests` has a row per request, `analysis.stats` is what stats.json holds."""
    worst = analysis.requests.nlargest(3, "ttft_ms")
    rows = [(f"{row.scenario}, round {row.round}", str(row.request_index), f"{row.ttft_ms:.0f}") for row in worst.itertuples()]
    yield Table("Slowest first tokens", ("round", "request", "TTFT, ms"), tuple(rows))


SLOWEST = ReportSection(heading="Slowest requests", blocks=slowest)
