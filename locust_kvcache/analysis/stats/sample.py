"""Keeps a sample of the requests in stats.json, so that a report can be made without the records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.metrics import SAMPLED
from locust_kvcache.analysis.basics.narrow import chosen, group_masks
from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.stats.intervals import SEED

SAMPLED_REQUESTS = 2000  # per scenario and round, whole sessions
SAMPLE_COLUMNS = [
    *"scenario round request_index session_id turn window round_window status ok started_at_s prompt_tokens output_tokens".split(),
    *("planned_cached_tokens", "reported_cached_tokens", *SAMPLED),
]


def samples(records: pd.DataFrame) -> dict[str, list[Any]]:
    """The requests as columns: all, or whole sessions drawn at random, the same ones in each round."""
    parts = []
    for _, mine in group_masks(records, ["scenario"]):
        first = mine & records["round"].eq(records["round"][mine].min())
        sizes = records["session_id"][first].value_counts().sort_index()
        drawn = sizes.sample(frac=1, random_state=SEED) if sizes.sum() > SAMPLED_REQUESTS else sizes
        kept = drawn.index[drawn.cumsum() <= SAMPLED_REQUESTS] if sizes.sum() > SAMPLED_REQUESTS else drawn.index
        parts.append(chosen(records, mine & records["session_id"].isin(kept), SAMPLE_COLUMNS))
    sample = pd.concat(parts) if parts else records
    rounded = sample[SAMPLE_COLUMNS].round(3)
    return {column: [plain(value) for value in rounded[column].tolist()] for column in SAMPLE_COLUMNS}


def requests_of(samples: dict[str, list[Any]]) -> pd.DataFrame:
    """The sampled requests as a table: one row per request."""
    table = pd.DataFrame(samples, columns=SAMPLE_COLUMNS)
    numbers = [name for name in SAMPLE_COLUMNS if name.endswith(("_ms", "_s", "_tokens"))]
    return table.astype(dict.fromkeys(numbers, np.float64)).astype({"ok": bool})
