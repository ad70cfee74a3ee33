"""The words with which a run tells of a server that could not be reached: the load writes them, the analysis finds them again."""

from __future__ import annotations

from collections.abc import Iterable

UNREACHABLE = "the server could not be reached by worker "


def outages_in(warnings: Iterable[str]) -> list[str]:
    """Those of a run's warnings that tell of a pause."""
    return [text for text in warnings if text.startswith(UNREACHABLE)]
