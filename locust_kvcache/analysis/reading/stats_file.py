"""Writes and reads stats.json; docs/metrics.md documents every key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.reading.runs import read_json
from locust_kvcache.contract.errors import BadInput

STATS_FORMAT = 1
KIND = "kvcache-stats"
TABLES = (
    "problems rounds windows windows_by_round distributions failures effects targets cache steady_state outliers tiers stages "
    "transfers server_counts gauges other_tools verdicts load_rates goodput gains ttft_parts transfer_efficiency counters"
).split()
WAY_OUT = "Make it again with: locust-kvcache report RUN_FOLDER"


def write_stats(path: Path, stats: dict[str, Any]) -> None:
    """One table row per line: a file that a person can read and that `diff` can compare. Replaced as a whole."""
    parts = []
    for key, value in plain(stats).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            parts.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    partial = path.with_suffix(".partial")
    partial.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    partial.replace(path)


def read_stats(path: Path) -> dict[str, Any]:
    """A stats.json of this format; BadInput names the file, the key, what was found and the way out."""
    if path.is_dir():
        path = path / "stats.json"
    stats = read_json(path, "a stats.json that the analysis wrote", WAY_OUT)
    for key, wanted in (("kind", KIND), ("format", STATS_FORMAT)):
        if stats.get(key) != wanted:
            raise BadInput(f"{path}: key {key!r} is {stats.get(key)!r}; this version reads {wanted!r}. {WAY_OUT}")
    for key in (
        "verdicts",
        "load_rates",
        "goodput",
        "transfers",
        "gains",
        "ttft_parts",
        "transfer_efficiency",
        "counters",
        "energy",
        "cost",
        "break_even",
    ):
        stats.setdefault(key, [])  # made by an earlier version
    stats.setdefault("slo", {})
    for key in TABLES:
        rows = stats.get(key)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"{path}: key {key!r} is {str(rows)[:60]!r}; expected a list of rows. {WAY_OUT}")
    for key in ("run", "samples"):
        if not isinstance(stats.get(key), dict):
            raise BadInput(f"{path}: key {key!r} is {str(stats.get(key))[:60]!r}; expected an object. {WAY_OUT}")
    return stats
