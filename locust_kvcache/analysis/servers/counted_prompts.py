"""Compares the prompt tokens that the servers counted with those that were sent.

Such a page is another server's, or something before the servers (a gateway with a response cache) answered by itself.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.servers.server_counters import delta_sum

LOOKUP_ROLES = ("prefiller", "server")  # the roles that meet every prompt
BY_SOURCE, PROMPTS = "vllm:prompt_tokens_by_source_total", "vllm:prompt_tokens_total"
COLUMNS = ["scenario", "round", "role", "counted_prompt_tokens", "sent_prompt_tokens", "seen_share"]


def counted_prompts(changed: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS per scenario and round of the role that looks prompts up; 0 where its counters are there and did not grow.

    `changed` are the deltas of counters (server_counters.deltas). `seen_share` is counted / sent, missing where what was sent is unknown.
    """
    sent = {(row["scenario"], row["round"]): row["prompt_tokens"] for row in rows_of(rounds)}
    rows: list[tuple[Any, ...]] = []
    key: Any
    for key, group in changed.groupby(["scenario", "round"], sort=False):
        role = next((name for name in LOOKUP_ROLES if group["role"].eq(name).any()), "")
        mine = group[group["role"].eq(role)]
        names = [name for name in (BY_SOURCE, PROMPTS) if mine["metric"].eq(name).any()]
        if not names:
            continue
        counted, known = max(delta_sum(mine, name) for name in names), sent.get(key)
        share = counted / known if known is not None and known > 0 else None
        rows.append((*key, role, counted, known, share))
    return pd.DataFrame(rows, columns=COLUMNS)
