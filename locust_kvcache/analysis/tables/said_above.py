"""Names what the first sentences of a page say about a late load generator, so that later parts only refer to it."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.tables.claim_words import claim_of
from locust_kvcache.analysis.tables.table import Stats
from locust_kvcache.contract.exit_codes import CLIENT_LATE


def lateness_is_said(stats: Stats) -> bool:
    """Whether the headline begins with it, for each scenario that has a late round."""
    late = {row["scenario"] for row in stats["rounds"] if row["client_limited"]}
    return bool(late) and all(claim_of(stats, name)["cause"] == CLIENT_LATE.name for name in late)


def shown_problems(stats: Stats) -> tuple[dict[str, Any], ...]:
    """The problems of a run below its headline: a late round is named, with what to do, and its figures are not said again."""
    if not lateness_is_said(stats):
        return tuple(stats["problems"])
    rounds = [f"Round {row['round']} of {row['scenario']} is client-limited" for row in stats["rounds"] if row["client_limited"]]
    return tuple(_referring(row, rounds) for row in stats["problems"])


def _referring(row: dict[str, Any], rounds: list[str]) -> dict[str, Any]:
    said = next((text for text in rounds if row["code"] == "client_limited" and row["text"].startswith(f"{text},")), "")
    return {**row, "text": f"{said} (above)."} if said else row
