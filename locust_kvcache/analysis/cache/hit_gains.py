"""Compares the TTFT reduction of each hit round with the largest possible one.

The limit goes by the FLOP of what is left to compute and by the link that the KV crosses (model/physical_limits.py); with the measured cold
TTFT it holds for this machine under this load.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.model import physical_limits
from locust_kvcache.analysis.reading.run_info import RunInfo

COLUMNS = (
    "scenario", "round", "verdict", "prompt_tokens", "cached_tokens", "loaded_tokens", "cold_ttft_ms", "ttft_ms", "reduction",
    "limit_serial", "limit_overlapped", "of_limit", "link_gb_per_s", "by_flop",
)  # fmt: skip


def gains(
    verdicts: pd.DataFrame, rounds: pd.DataFrame, distributions: pd.DataFrame, info: RunInfo, link_gb_per_s: float | None
) -> pd.DataFrame:
    """One row per later round whose cached tokens are known. Tokens are means per request; shares are of the cold mean TTFT.

    `of_limit` is achieved / possible with loading and computing one after the other; under PD the hand-off of all KV over the link is in
    both the cold and the hit limit. Where the tier or the model's KV bytes are unknown, so is that limit; `limit_overlapped` is then the
    one of computing alone, which holds in any case. `by_flop`: whether the model's FLOP are known; else work goes by tokens.
    """
    means = {
        (row["scenario"], row["group"], row["metric"]): row["mean"]
        for row in rows_of(distributions[distributions["split"].eq("round")])
    }
    requests = {(row["scenario"], row["round"]): row["succeeded"] for row in rows_of(rounds)}
    judged = {(row["scenario"], row["round"]): row for row in rows_of(verdicts)}
    rows = []
    for (scenario, number), row in judged.items():
        cold, first = means.get((scenario, "1", "ttft_ms")), judged.get((scenario, 1))
        hit, count = means.get((scenario, str(number), "ttft_ms")), requests.get((scenario, number))
        known = first is not None and pd.notna(row["cached_tokens"]) and pd.notna(first["cached_tokens"])
        if number == 1 or not (
            known and first and row["prompt_tokens"] and cold and hit and count and requests.get((scenario, 1))
        ):
            continue
        cold_cached = first["cached_tokens"] / float(requests[scenario, 1])
        loaded = row["below_tokens"] / count if pd.notna(row["below_tokens"]) else None
        tokens = (row["prompt_tokens"] / count, row["cached_tokens"] / count, loaded)
        step_s = (_positive(means.get((scenario, str(number), "tpot_ms"))) or 0.0) / 1000  # answers of one token give no floor
        serial, overlapped = largest(cold / 1000, *tokens, cold_cached, info, link_gb_per_s, step_s)
        reduction = 1 - hit / cold
        share = reduction / serial if serial is not None and serial > 0 else None
        by_flop = _flop_facts(info) is not None
        rows.append(
            (scenario, number, row["verdict"], *tokens, cold, hit, reduction, serial, overlapped, share, link_gb_per_s, by_flop)
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def largest(
    cold_s: float,
    prompt: float,
    cached: float,
    loaded: float | None,
    cold_cached: float,
    info: RunInfo,
    link_gb_per_s: float | None,
    step_s: float = 0.0,
) -> tuple[float | None, float]:
    """(loading before computing, loading while computing): the largest possible reductions of the mean TTFT.

    Computing takes at least `step_s`, one decode step: a pass has to read the weights, however few tokens are left.
    """
    kappa, pd_pair = _positive(info.model_facts.kv_bytes_per_token), info.deployment.is_pd
    crosses = bool(loaded or pd_pair)  # the link, with KV whose time must be known
    known = loaded is not None and not (crosses and (kappa is None or link_gb_per_s is None))
    seconds_per_token = (kappa or 0.0) / (link_gb_per_s * 1e9) if link_gb_per_s else 0.0
    hand_off_s = min(seconds_per_token * prompt, cold_s) if pd_pair else 0.0
    left = _work(prompt, cached, info) / _work(prompt, cold_cached, info)
    compute_s, load_s = max((cold_s - hand_off_s) * left, step_s), seconds_per_token * (loaded or 0.0)
    serial, overlapped = (
        physical_limits.largest_reduction(compute_s, cold_s, load_s, overlapped=beside) for beside in (False, True)
    )
    return (serial - hand_off_s / cold_s if known else None), overlapped - hand_off_s / cold_s


def _work(prompt: float, cached: float, info: RunInfo) -> float:
    """FLOP of computing the uncached tokens; without the model's facts their number."""
    facts = _flop_facts(info)
    cached = min(cached, prompt - 1)
    return physical_limits.prefill_flop(prompt, cached, *facts) if facts else prompt - cached


def _flop_facts(info: RunInfo) -> tuple[float, float] | None:
    parameters, attention = _positive(info.model_facts.active_parameters), _positive(info.model_facts.attention_flop_per_token2)
    return (parameters, attention) if parameters and attention else None


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
