"""Logs messages only once that could repeat with every request, such as an unexpected error or an unknown field."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field

log = logging.getLogger("kvcache")


@dataclass
class ErrorLog:
    """Logs the traceback of an unexpected exception the first time that it comes from a place in the code."""

    _seen: set[tuple[str, str, int]] = field(default_factory=set)

    def tell(self, error: BaseException, doing: str) -> str:
        """One line that names the error, for a record."""
        frames = traceback.extract_tb(error.__traceback__)
        place = (type(error).__name__, frames[-1].filename, frames[-1].lineno or 0) if frames else (type(error).__name__, "", 0)
        if place not in self._seen:
            self._seen.add(place)
            log.error("an unexpected error while %s; further ones from the same place are not shown", doing, exc_info=error)
        return f"{type(error).__name__} while {doing}: {error}"[:500]


@dataclass
class UnknownFields:
    """Logs fields that carry output and are not known; what they carry was counted as output that is not visible."""

    _seen: set[str] = field(default_factory=set)

    def tell(self, name: str) -> None:
        if name not in self._seen:
            self._seen.add(name)
            log.warning(
                "answers have output in the unknown field %r; it counts as output that is not visible, as reasoning does", name
            )
