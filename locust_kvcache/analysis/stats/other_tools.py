"""Computes the metrics of the same requests by the definitions of other tools.

Read in their sources: vLLM's `bench serve` stops TTFT at the first chunk with a non-empty `choices`, a role-only one too, and divides by
n - 1; AIPerf divides by n - 1 from the first output; GuideLLM's TPOT is the whole latency over n; fw-ai divides the decode time by n.
"""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, group_masks

TOOLS = {
    "vllm_ttft_ms": ("vllm bench serve", "TTFT, ms"),
    "vllm_tpot_ms": ("vllm bench serve", "TPOT, ms"),
    "aiperf_itl_ms": ("AIPerf", "ITL, ms"),
    "guidellm_tpot_ms": ("GuideLLM", "TPOT, ms (includes TTFT)"),
    "fw_ai_tpot_ms": ("fw-ai", "TPOT, ms"),
}


def as_other_tools(records: pd.DataFrame) -> pd.DataFrame:
    """One column per definition; missing where what it needs is missing, or n is 1 where it divides by n - 1."""
    tokens = records["output_tokens"].where(records["output_tokens"] > 0)
    later = (tokens - 1).where(tokens > 1)
    return pd.DataFrame(
        {
            "vllm_ttft_ms": records["first_choice_ms"],
            "vllm_tpot_ms": (records["e2e_ms"] - records["first_choice_ms"]) / later,
            "aiperf_itl_ms": (records["e2e_ms"] - records["ttft_ms"]) / later,
            "guidellm_tpot_ms": records["e2e_ms"] / tokens,
            "fw_ai_tpot_ms": (records["e2e_ms"] - records["ttft_ms"]) / tokens,
        }
    )


def tool_table(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and median per scenario, round and definition, over successful requests."""
    rows = []
    for key, places in group_masks(records, ["scenario", "round"]):
        ok = chosen(records, places & records["ok"], ["first_choice_ms", "ttft_ms", "e2e_ms", "output_tokens"])
        for column, values in as_other_tools(ok).items():
            if count := int(values.count()):
                rows.append((str(key[0]), key[1], str(column), count, values.mean(), values.median()))
    order = list(TOOLS)
    rows.sort(key=lambda row: order.index(row[2]))  # by definition, each with its rounds in their order
    return pd.DataFrame(rows, columns=["scenario", "round", "column", "n", "mean", "median"])
