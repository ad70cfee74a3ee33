"""Tables of a run come in, what stands against its figures goes out: failures, servers that count otherwise, a client that was too slow."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem


def disagreement(checked: pd.DataFrame) -> list[Problem]:
    """Servers and client should count the same cached tokens: more than 2 % apart is a warning."""
    both = checked[checked["client_cached_tokens"].notna() & checked["server_cached_tokens"].notna()]
    apart = (both["server_cached_tokens"] - both["client_cached_tokens"]).abs()
    wrong = both[apart > 0.02 * both[["server_cached_tokens", "client_cached_tokens"]].max(axis=1)]
    return [
        Problem(
            "warning",
            "cached_tokens_disagree",
            f"Round {row['round']} of {row['scenario']}: the {row['role']} counted {row['server_cached_tokens']:,.0f} cached tokens, "
            f"the answers reported {row['client_cached_tokens']:,.0f}.",
            "Other traffic on the servers, a missing metrics address, or a decoder that counts loaded KV as cached.",
        )
        for row in rows_of(wrong)
    ]


def failures(records: pd.DataFrame) -> list[Problem]:
    failed = records[~records["ok"]]
    if failed.empty:
        return []
    classes = failed["status"].astype(str).value_counts()
    listed = ", ".join(f"{count} {status}" for status, count in classes.items())
    text = f"{len(failed)} of {len(records)} requests failed: {listed}. They are in no time and no rate."
    return [
        Problem("warning", "failures", text, "A failed request may have warmed the cache, or eased the load, for the others.")
    ]
