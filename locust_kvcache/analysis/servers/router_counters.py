"""Finds what a router did to requests beyond passing them on, by its own page: tries at another engine, and requests that it shed."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.server_counters import delta_sum

RETRIES = ("vllm_router_retries_total", "smg_worker_retries_total")  # of vllm-router 0.1.17, sglang-router 0.3.2


def router_problems(changed: pd.DataFrame) -> list[Problem]:
    """A warning for each round in which a router sent requests again; `changed` are the deltas of counters."""
    found = []
    key: tuple[str, int]
    for key, group in changed[changed["metric"].isin(RETRIES)].groupby(["scenario", "round"], sort=False):  # type: ignore[assignment]
        count = sum(delta_sum(group, name) for name in RETRIES)
        if count < 1:
            continue
        text = (
            f"The router sent requests of round {key[1]} of {key[0]} again, {int(count):,} in all: their TTFT holds the tries that failed, "
            "and the engines may have counted their prompts more than once."
        )
        found.append(Problem("warning", "router_retries", text, "See the router's log for the engine that refused or failed."))
    return found
