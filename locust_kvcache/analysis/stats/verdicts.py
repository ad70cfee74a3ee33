"""Gives effects their verdicts (better, worse, undecided), adjusted for all effects of a report (Holm).

Metrics that are functions of one another are one hypothesis and take one place: the prefill estimate is the TTFT less one step, and in a
closed loop the rates are the inverse of the E2E latency. Metrics that other packages add have an interval and no verdict: an installed
package must not change what is said of the others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.metrics import ADDED
from locust_kvcache.analysis.stats import intervals
from locust_kvcache.analysis.stats.intervals import ALPHA, Spread

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
# metric -> the one whose place it shares
HEADS = {
    "prefill_estimate_ms": "ttft_ms",
    "requests_per_s": "e2e_ms",
    "busy_requests_per_s": "e2e_ms",
    "total_tokens_per_s": "e2e_ms",
    "output_tokens_per_s": "e2e_ms",
}
FAMILY_KEYS = ("scenario", "split", "round", "contender_run", "window")  # those that a table has tell its hypotheses apart


def add_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Adds `p_adjusted`, `smallest_effect` and `verdict`, on means and rates.

    Each hypothesis is tested by its head (the TTFT, the E2E latency; the first of its metrics where there is no head); the others
    take over the head's adjusted p-value, or their own where that is larger. *better* and *worse* therefore need an interval without 1 too.
    """
    table = table.reset_index(drop=True)
    judged = table["statistic"].isin(["mean", "rate"]) & ~table["metric"].isin([*ADDED])
    tested = judged & table["p_value"].notna()
    hypothesis = _hypotheses(table)
    heads = table[tested].assign(place=hypothesis[tested], own=table["metric"].map(lambda name: name in HEADS)[tested])
    heads = heads.sort_values("own", kind="stable").drop_duplicates("place")
    adjusted_heads = dict(zip(heads["place"], intervals.holm(heads["p_value"].tolist()), strict=True))
    own, of_head = table["p_value"].astype("float64"), hypothesis.map(adjusted_heads).astype("float64")
    adjusted = own.where(own > of_head, of_head).where(tested)
    higher_is_better = table["metric"].str.contains("_per_s")
    improved = (table["ratio"].astype("float64") > 1) == higher_is_better
    verdict = pd.Series(np.where(improved, BETTER, WORSE), index=table.index, dtype=object)
    verdict = verdict.mask(adjusted.ge(ALPHA) | adjusted.isna(), UNDECIDED).where(judged)
    return table.assign(p_adjusted=adjusted, smallest_effect=_smallest(table, tested, len(heads)), verdict=verdict)


def _hypotheses(table: pd.DataFrame) -> pd.Series:
    parts = [table[key].astype(str) for key in FAMILY_KEYS if key in table]
    head = table["metric"].map(lambda name: HEADS.get(name, name))
    return pd.Series(list(zip(*parts, head, strict=True)), index=table.index, dtype=object)


def _smallest(table: pd.DataFrame, tested: pd.Series, hypotheses: int) -> pd.Series:
    found = [
        intervals.smallest_effect(Spread(float(se), float(freedom)), hypotheses) if known else np.nan
        for se, freedom, known in zip(table["log_se"], table["freedom"], tested, strict=True)
    ]
    return pd.Series(found, index=table.index, dtype="float64")
