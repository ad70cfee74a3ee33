"""Writes durations for people: one way for the dry run and the progress line."""

from __future__ import annotations


def duration_text(seconds: float | None) -> str:
    """12.3 s, 3.3 min, 2.08 h; unknown for None."""
    if seconds is None:
        return "unknown"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"
