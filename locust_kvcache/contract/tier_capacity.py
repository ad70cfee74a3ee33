"""Computes how many tokens each cache tier holds, for the preflight, the studies, the dry run and the analysis.

What a server reports wins over the deployment file's `capacity`, which is a claim, and is there for what no page tells (the CPU tier).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from locust_kvcache.contract.cache_tiers import TIERS

ENGINES = ("prefiller", "server")  # roles that keep prompts; a decoder is handed its KV
CONFIG, STORE_BYTES = "vllm:cache_config_info{", "master_total_capacity_bytes"
Rows = Iterable[Mapping[str, Any]]  # of server_metrics.jsonl: role, url, samples


def _label(name: str, key: str) -> str:
    found = re.search(rf'[{{,]{key}="([^"]*)"', name)
    return found[1] if found else ""


def gpu_tokens(rows: Rows) -> int | None:
    """num_gpu_blocks x block_size of every engine that prefills, together; None where no page tells. A page seen twice is one page.

    0 for an engine without prefix caching: its blocks are freed with their request.
    """
    engines: dict[tuple[str | None, str | None, str], int] = {}
    for row in rows:
        for name in (row.get("samples") or {}) if row.get("role") in ENGINES else ():
            blocks, size = _label(name, "num_gpu_blocks"), _label(name, "block_size")
            if name.startswith(CONFIG) and blocks.isdigit() and size.isdigit():
                keeps = _label(name, "enable_prefix_caching") != "False"
                engines[row.get("role"), row.get("url"), _label(name, "engine")] = int(blocks) * int(size) if keeps else 0
    return sum(engines.values()) if engines else None


def store_bytes(rows: Rows) -> float | None:
    """Capacity of the Mooncake store by its master's page; None where no page tells."""
    found = {
        (row.get("url"), name): float(value)
        for row in rows
        for name, value in (row.get("samples") or {}).items()
        if name.partition("{")[0] == STORE_BYTES
    }
    return sum(found.values()) if found else None


def tier_capacities(rows: Rows, kv_bytes_per_token: float | None, given: Mapping[str, float]) -> dict[str, int]:
    """Tokens by tier, the fastest first; a tier that holds nothing, or of which nothing tells, is left out.

    `given` is `capacity` of the deployment file. Bytes count as tokens only where the KV bytes per token are known.
    """
    rows = list(rows)
    gpu, store = gpu_tokens(rows), store_bytes(rows)
    held: dict[str, float] = {"gpu": given.get("gpu_tokens", 0) if gpu is None else gpu}
    if kv_bytes_per_token:
        held["cpu"] = given.get("cpu_gb", 0) * 1e9 / kv_bytes_per_token
        held["store"] = (store or given.get("store_gb", 0) * 1e9) / kv_bytes_per_token
    return {tier: int(held[tier]) for tier in TIERS if held.get(tier)}
