"""A metric of a request: a column that is computed from the columns of the records (docs/reference.md has them all)."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.contract.extensions import RequestMetric


def prefill_rate(records: pd.DataFrame) -> pd.Series:
    """Missing where the server does not report cached tokens, or where nothing was left to compute."""
    computed = records["prompt_tokens"] - records["reported_cached_tokens"]
    return (computed / (records["ttft_ms"] / 1000)).where(computed > 0)


PREFILL_RATE = RequestMetric(
    name="Prefill rate",
    unit="tokens/s",
    definition="prompt tokens that were not cached / TTFT",
    compute=prefill_rate,
    compared=True,
)
