"""Formats numbers for people: durations, shares, changes, and a dash for a missing value."""

from __future__ import annotations

import math
from typing import Any

DASH = "–"


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: Any, digits: int = 3) -> str:
    """At least three significant digits, thousands separated: 21,246 · 145 · 16.8 · 0.249."""
    if is_missing(value):
        return DASH
    size = abs(float(value))
    decimals = 0 if size == 0 or size >= 100 else max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{float(value):,.{min(decimals, 6)}f}"
    return text


def whole(value: Any) -> str:
    return DASH if is_missing(value) else f"{float(value):,.0f}"


def percent(value: Any, signed: bool = False) -> str:
    """0.665 -> 66.5 %."""
    if is_missing(value):
        return DASH
    rounded = round(100 * float(value), 1) + 0.0  # + 0.0: no minus zero
    text = f"{rounded:{'+' if signed else ''},.1f} %"
    return text.replace("-", "−")


def change(row: dict[str, Any]) -> str:
    """The change of a ratio with its interval: −66.5 % [−70.1, −61.2]; of a row that is withheld none."""
    if row.get("withheld"):
        return "not comparable"
    if is_missing(row.get("ratio")):
        return DASH
    text = percent(row["ratio"] - 1, signed=True)
    if is_missing(row.get("ratio_low")):
        return f"{text} [no interval]"
    low, high = (f"{100 * (row[key] - 1):+,.1f}".replace("-", "−") for key in ("ratio_low", "ratio_high"))
    return f"{text} [{low}, {high}]"


def target_value(value: Any, kind: str) -> str:
    """Shares as per cent, ratios as times."""
    if kind == "ratio":
        return DASH if is_missing(value) else f"{float(value):.2f} x"
    return percent(value)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def signed_percent(value: Any) -> str:
    return percent(value, signed=True)
