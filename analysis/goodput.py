"""Records and service-level objectives come in; which requests met all of them, and how many of those per second, go out.

A failed request meets nothing. An answer too short to have a TPOT is not held to the TPOT; any other missing time is a miss.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from scenarios.errors import BadInput

OBJECTIVES = ("ttft_ms", "tpot_ms", "e2e_ms")


def meets_slo(records: pd.DataFrame, slo: Mapping[str, float]) -> pd.Series:
    """True for each request that succeeded within every limit of `slo`; a limit itself is still within."""
    unknown = sorted(set(slo) - set(OBJECTIVES))
    if unknown:
        raise BadInput(f"slo: unknown objective {unknown[0]!r}; allowed: {', '.join(OBJECTIVES)}; rename or remove it")
    met = records["ok"].astype(bool)
    for name, limit_ms in slo.items():
        within = records[name].le(limit_ms)
        met &= within | records[name].isna() if name == "tpot_ms" else within
    return met


def goodput_per_s(records: pd.DataFrame, slo: Mapping[str, float], observed_s: float) -> float:
    """Requests per second that met all of `slo`, over the `observed_s` in which `records` were sent and answered."""
    if observed_s <= 0:
        raise BadInput(f"goodput: observed time is {observed_s} s; it must be above 0: give the span of the round measured")
    return float(meets_slo(records, slo).sum()) / observed_s
