"""Defines the Table: rows of finished text, and how they are made from statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.contract.language import told

Stats = dict[str, Any]  # the content of stats.json


@dataclass(frozen=True)
class Table:
    """Finished text. `rule` says how its rows were split, as every table must; the first column is the row's name."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rule: str = ""
    notes: tuple[str, ...] = ()
    texts: tuple[int, ...] = ()  # columns of words, beside the first: to the left
    sortable: bool = False
    verbatim: tuple[int, ...] = ()  # columns of values that no language changes: what servers said, what run.json holds


def told_table(table: Table) -> Table:
    """In the reader's language."""
    return replace(
        table,
        title=told(table.title),
        header=tuple(map(told, table.header)),
        rows=tuple(
            tuple(cell if column in table.verbatim else told(cell) for column, cell in enumerate(row)) for row in table.rows
        ),
        rule=told(table.rule),
        notes=tuple(map(told, table.notes)),
    )


def run_of(stats: Stats) -> RunInfo:
    """run.json, as stats.json keeps it."""
    return parse_run_info(stats["run"])


def scenarios(stats: Stats) -> list[str]:
    return list(dict.fromkeys(row["scenario"] for row in stats["rounds"]))


def find(rows: Iterable[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def no_intervals(effects: Iterable[dict[str, Any]]) -> list[str]:
    """Why figures of this table have no interval: each reason once."""
    reasons = dict.fromkeys(row["no_interval"] for row in effects if row.get("no_interval"))
    return [f"No interval: {'; '.join(reasons)}."] if reasons else []
