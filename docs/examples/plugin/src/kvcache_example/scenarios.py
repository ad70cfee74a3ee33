"""A scenario: the keys of a scenario file, made by code (docs/workloads.md has them all)."""

from __future__ import annotations

from typing import Any


def support_tickets() -> dict[str, Any]:
    """Tickets of one product: all sessions share the handbook, each asks two questions."""
    return {
        "summary": "support tickets that share one handbook",
        "requests": 8,
        "prefix": {"text": "document", "tokens": 600, "shared_by": "all"},
        "turns": {"count": 2, "text": "question", "tokens": [30, 60], "reply": "planned"},
        "output": {"tokens": 8},
    }
