"""Formats numbers for people: durations, shares, changes, and a dash for a missing value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

DASH = "–"
LARGEST_IN_PERCENT = 3.0  # a ratio above it is a factor: 16.0 x, not +1,500 %


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits, thousands separated: 21,200 · 145 · 16.8 · 0.249."""
    if is_missing(value):
        return DASH
    value = float(value)
    if value == 0:
        return "0"
    decimals = digits - 1 - _exponent(value, digits)
    return f"{round(value, decimals):,.{min(max(0, decimals), 6)}f}"


def _exponent(value: float, digits: int) -> int:
    """Of the rounded value: 2 for 99.96 at three digits, which is 100."""
    return int(f"{abs(value):.{digits - 1}e}".partition("e")[2])


def whole(value: Any) -> str:
    return DASH if is_missing(value) else f"{float(value):,.0f}"


def percent(value: Any, signed: bool = False) -> str:
    """0.665 -> 66.5 %; without decimals from 100 % on."""
    return DASH if is_missing(value) else f"{_points(100 * float(value), signed)} %"


def _points(points: float, signed: bool) -> str:
    rounded = round(points, 1) + 0.0  # + 0.0: no minus zero
    decimals = 0 if abs(rounded) >= 100 else 1
    return f"{rounded:{'+' if signed and rounded else ''},.{decimals}f}".replace("-", "−")


def factor(ratio: float) -> str:
    """16.0 x."""
    return f"{number(ratio)} x"


def ratio_change(ratio: Any) -> str:
    """A ratio as a change: −66.5 %; above 3 as a factor: 16.0 x."""
    if is_missing(ratio):
        return DASH
    return factor(ratio) if ratio > LARGEST_IN_PERCENT else percent(ratio - 1, signed=True)


def change(row: dict[str, Any]) -> str:
    """The change of a ratio with its interval: −66.5 % [−70.1, −61.2], 3.25 x [2.86, 3.69]; of a row that is withheld none."""
    if row.get("withheld"):
        return "not comparable"
    if is_missing(row.get("ratio")):
        return DASH
    text = ratio_change(row["ratio"])
    if is_missing(row.get("ratio_low")):
        return f"{text} [no interval]"
    ends = [row["ratio_low"], row["ratio_high"]]
    if ends[0] <= 1 and ends[1] > LARGEST_IN_PERCENT:  # from a fall to a multiple: the sample does not tell
        return f"{text} [too wide]"
    if ends[1] > LARGEST_IN_PERCENT:
        return f"{factor(row['ratio'])} [{', '.join(map(number, ends))}]"
    return f"{text} [{', '.join(_points(100 * (end - 1), signed=True) for end in ends)}]"


def slower(ratio: float) -> str:
    """A ratio of times in words: 16.0 x slower, 23.4 % faster, as fast."""
    return _in_words(ratio, "slower", "faster", "as fast")


def higher(ratio: float) -> str:
    """A ratio of rates in words: 16.0 x higher, 23.4 % lower, as high."""
    return _in_words(ratio, "higher", "lower", "as high")


def _in_words(ratio: float, above: str, below: str, alike: str) -> str:
    if round(100 * (ratio - 1), 1) == 0:
        return alike
    if ratio > LARGEST_IN_PERCENT:
        return f"{factor(ratio)} {above}"
    return f"{percent(abs(ratio - 1))} {above if ratio > 1 else below}"


def target_value(value: Any, kind: str) -> str:
    """Shares as per cent, ratios as times."""
    if kind == "ratio":
        return DASH if is_missing(value) else factor(value)
    return percent(value)


def plural(count: int, noun: str, several: str = "") -> str:
    """1 run, 3 runs; `several` where an s does not make the plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {several or noun + 's'}"


def in_words(value: Any) -> str:
    """A value of run.json in words: `kind closed, burstiness 1`; what is not set is left out."""
    if value is None or value in ({}, []):
        return DASH
    if isinstance(value, dict):
        parts = [
            (key, f"({in_words(entry)})" if isinstance(entry, dict) else in_words(entry))
            for key, entry in value.items()
            if in_words(entry) != DASH
        ]
        return ", ".join(f"{key} {text}" for key, text in parts) or DASH
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def listed(names: Iterable[Any]) -> str:
    """1, 5 and 10."""
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def signed_percent(value: Any) -> str:
    return percent(value, signed=True)
