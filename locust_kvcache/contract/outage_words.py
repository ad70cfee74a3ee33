"""Defines the sentences about a server that could not be reached, or about several servers at one address.

The load writes them, the analysis finds them again.
"""

from __future__ import annotations

from collections.abc import Iterable

UNREACHABLE = "the server could not be reached by worker "
BALANCED = "several servers answer at "


def outages_in(warnings: Iterable[str]) -> list[str]:
    """Those of a run's warnings that tell of a pause."""
    return [text for text in warnings if text.startswith(UNREACHABLE)]


def balanced_in(warnings: Iterable[str]) -> list[str]:
    """Those that tell of an address at which several servers answer."""
    return [text for text in warnings if text.startswith(BALANCED)]
