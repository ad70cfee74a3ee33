"""Describes the load that users of other classes put on the server under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


def foreign_text(rounds: Iterable[Mapping[str, Any]], users: Mapping[str, int]) -> str | None:
    """One warning for the whole run; None where nobody else sent anything to this server while rounds ran."""
    requests: Counter[str] = Counter()
    for entry in rounds:
        requests.update(entry.get("foreign_requests") or {})
    if not requests.total():
        return None
    parts = (f"{name} ({users.get(name, 0)} users) {count:,}" for name, count in sorted(requests.items()))
    return (
        f"foreign load: while rounds ran, users of other classes sent requests to the same server: {', '.join(parts)}. They are in "
        "no record; they slow the measured requests, and may fill or empty the caches. Without them: name only the KVCacheUser classes"
    )
