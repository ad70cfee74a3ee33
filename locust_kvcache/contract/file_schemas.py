"""Gives the JSON Schemas of the files that a run leaves: run.json, a line of records.jsonl, and stats.json (docs/files.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "schemas"
NAMES = ("run", "record", "stats")


def file_schema(name: str) -> dict[str, Any]:
    """One of NAMES."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema
