"""Makes the table of tenants: what each asked for, what it got, and how fair that was."""

from __future__ import annotations

from locust_kvcache.analysis.basics.number_text import number, percent, whole
from locust_kvcache.analysis.tables.table import Stats, Table, find

HEADER = (
    "", "requests", "failed", "prompt tokens", "hit rate", "planned hit rate", "TTFT P50, ms", "TTFT P90, ms", "share of tokens",
    "planned share", "tokens per request-second",
)  # fmt: skip
RULE = "by round and tenant; successful requests; planned: what an unlimited cache would hold, and what the plan asks for"


def tenant_table(stats: Stats, scenario: str) -> Table:
    """One row per round and tenant."""
    rows = tuple(
        (
            f"round {row['round']}, {row['tenant']}",
            *(whole(row[name]) for name in ("requests", "failed", "prompt_tokens")),
            *(percent(row[name]) for name in ("hit_rate", "planned_hit_rate")),
            *(number(row[name]) for name in ("ttft_p50_ms", "ttft_p90_ms")),
            *(percent(row[name]) for name in ("share_of_tokens", "planned_share")),
            number(row["tokens_per_request_s"]),
        )
        for row in find(stats.get("tenants", ()), scenario=scenario)
    )
    notes = tuple(
        f"Round {row['round']}: fairness (Jain's index of the tokens per request-second) {number(row['jain_tokens_per_request_s'])}; "
        f"1 is even, {number(1 / row['tenants'])} is one tenant for all."
        for row in find(stats.get("fairness", ()), scenario=scenario)
    )
    return Table(f"{scenario}: tenants", HEADER, rows, RULE, notes)
