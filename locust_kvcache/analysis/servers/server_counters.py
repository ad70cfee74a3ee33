"""Computes counter changes, cache tiers and stage times of each round from the servers' metrics.

Counters are subtracted (after - before) per scenario, round, role and address; samples that differ only in labels are added up.
Names are vLLM's, LMCache's and Mooncake's; a server that has none of them gives empty tables.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.servers.broken_counters import COUNTER, KEYS, ROLE, broken_rounds
from locust_kvcache.analysis.servers.engine_lives import with_lives

_SAMPLE = re.compile(r"^(?P<metric>[^{]+)(?:\{(?P<labels>.*)\})?$", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
SOURCES = {"local_cache_hit": "gpu", "external_kv_transfer": "external", "local_compute": "computed"}
STAGES = ("queue", "prefill", "decode")
GAUGES = (
    "vllm:kv_cache_usage_perc", "vllm:num_requests_running", "vllm:num_requests_waiting", "master_allocated_bytes",
    "master_key_count", "lmcache_mp_l1_usage_ratio", "lmcache:local_cache_usage", "DCGM_FI_DEV_GPU_UTIL",
)  # fmt: skip
COUNTERS = re.compile(
    r"prefix_cache_(?:hits|queries)_total|preemptions_total|evict|:prompt_tokens_(?:total|by_source_total)|generation_tokens_total"
    r"|:request_(?:queue|prefill|decode)_time_seconds_(?:sum|count)|:time_to_first_token_seconds_(?:sum|count)|mooncake_|nixl_"
    r"|lmcache_mp_(?:lookup|l1_(?:read|write)|l2_(?:load|store)_completed)|master_put_start_(?:requests|failures)|lmcache:num_(?:hit|requested|stored)_tokens"
)
DISK_ADAPTERS = ("fs", "fs_native", "raw_block")  # l2_name of an lmcache server's second tier that is a local disk


def series(scrapes: list[dict[str, Any]]) -> pd.DataFrame:
    """Tidy: one row per scrape and sample, with the labels apart from the name. A counter that is no number has no value."""
    rows = []
    for scrape in with_lives(scrapes):
        head = {key: scrape.get(key) for key in ("at_s", "scenario", "round", "when", "role", "url")}
        values = dict.fromkeys(scrape.get("no_numbers") or (), math.nan) | (scrape.get("samples") or {})
        for name, value in values.items():
            match = _SAMPLE.match(name)
            if match and isinstance(value, int | float) and (value == value or match["metric"].endswith(COUNTER)):
                rows.append({**head, "metric": match["metric"], "labels": match["labels"] or "", "value": float(value)})
    return pd.DataFrame(rows, columns=["at_s", "scenario", "round", "when", "role", "url", "metric", "labels", "value"])


def label(labels: str, name: str) -> str:
    """The value of one label; empty where there is none."""
    match = re.search(rf'(?:^|,){name}="((?:[^"\\]|\\.)*)"', labels)
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], match[1]) if match else ""


def deltas(table: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """after - before of every counter, without the rounds of roles of which a page's counters cannot be subtracted: the sum over the
    other pages, their share of hits and of load, would be taken for the role's."""
    by = [*KEYS, "metric", "labels"]
    wide = table[table["when"].isin(["before", "after"])].pivot_table(index=by, columns="when", values="value", aggfunc="last")
    path = {role: place for place, role in enumerate(table["role"].unique())}  # as the deployment file lists them
    wide = wide.reindex(columns=["before", "after"]).reset_index()
    wide = wide.sort_values(["scenario", "round"], kind="stable").sort_values("role", key=lambda r: r.map(path), kind="stable")
    wide["before"] = wide["before"].fillna(0.0).where(wide["after"].notna())  # a labelled counter appears with its first event
    wide["delta"] = wide["after"] - wide["before"]
    counter = wide["metric"].str.endswith(COUNTER)
    broken, problems = broken_rounds(table)
    left_out = pd.MultiIndex.from_frame(wide[ROLE]).isin(pd.MultiIndex.from_frame(broken[ROLE]))
    return wide[counter & wide["delta"].notna() & ~left_out].drop(columns=["before", "after"]), problems


def counters(table: pd.DataFrame) -> pd.DataFrame:
    """What grew, per scenario, round and role: tokens by source, hits, queries, stage sums, transfers, evictions, preemptions.

    Added up over engines and other labels, except for those that say what was counted (`of`: a source or an operation).
    """
    mine = table[table["metric"].str.contains(COUNTERS) & table["delta"].ne(0)]
    of = mine["labels"].map(lambda text: label(text, "source") or label(text, "operation"))
    keys = ["scenario", "round", "role", "metric", "of"]
    return mine.assign(of=of).groupby(keys, sort=False)["delta"].sum().reset_index()


def tiers(table: pd.DataFrame) -> pd.DataFrame:
    """Prompt tokens by where they came from, per scenario, round and role: gpu (prefix cache), external (LMCache, Mooncake), computed.

    `host` and `disk`: what of external certainly came from host memory and from a disk, where vLLM or an lmcache server tells.
    `engines`: how many share the role's requests, by pages and vLLM's `engine` label (data-parallel replicas).
    vLLM's prompt_tokens_by_source where it is there; else hits of the two prefix caches, and the rest of the prompt tokens.
    """
    key: Any
    rows = []
    lmcache = _lmcache_hits(table)
    for key, group in table.groupby(["scenario", "round", "role"], sort=False):
        tokens = prompt_sources(group)
        if sum(tokens.values()) > 0:
            prompt = group[group["metric"].str.startswith("vllm:prompt_tokens_")]
            engines = (prompt["url"].astype(str) + " " + prompt["labels"].map(lambda text: label(text, "engine"))).nunique()
            rows.append(
                {
                    **dict(zip(["scenario", "round", "role"], key, strict=True)),
                    **tokens,
                    "engines": max(1, engines),
                    **_below(group, tokens.get("external", 0.0), *lmcache.get((key[0], key[1]), (0.0, 0.0, False))),
                }
            )
    columns = ["scenario", "round", "role", "gpu", "external", "computed", "engines", "host", "disk"]
    return pd.DataFrame(rows, columns=columns).fillna(dict.fromkeys(("gpu", "external", "computed", "host", "disk"), 0.0))


def _below(group: pd.DataFrame, external: float, first: float, second: float, on_disk: bool) -> dict[str, float]:
    """What of the external tokens host memory and a disk certainly had; 0 where nothing tells the tiers apart.

    vLLM's own counter, else an lmcache server's hits in its first and second tier. Those include tokens that the GPU had as well, so what
    one tier had for certain is what the other cannot have had.
    """
    mine = group[group["metric"].eq("vllm:prompt_tokens_cached_by_source_total")]
    told = mine.groupby(mine["labels"].map(lambda text: label(text, "source")))["delta"].sum()
    host, disk = float(told.get("host", 0.0)), float(told.get("disk", 0.0))
    if host + disk > 0:
        return {"host": host, "disk": disk}
    least = min(second, max(0.0, external - first))
    return {"host": min(first, max(0.0, external - second)), "disk": least if on_disk else 0.0}


def _lmcache_hits(table: pd.DataFrame) -> dict[tuple[str, int], tuple[float, float, bool]]:
    """Per scenario and round: tokens that lmcache servers found in host memory and in their second tier, and whether that is a disk."""
    key: Any
    found = {}
    for key, group in table[table["metric"].str.startswith("lmcache_mp_")].groupby(["scenario", "round"], sort=False):
        first, second = (delta_sum(group, f"lmcache_mp_lookup_hit_{tier}_tokens_total") for tier in ("l1", "l2"))
        loads = group[group["metric"].str.startswith("lmcache_mp_l2_load_completed") & group["delta"].gt(0)]
        names = set(loads["labels"].map(lambda text: label(text, "l2_name")))
        found[key] = (first, second, bool(names) and names <= set(DISK_ADAPTERS))
    return found


def delta_sum(group: pd.DataFrame, metric: str) -> float:
    return float(group["delta"][group["metric"].eq(metric)].sum())


def prompt_sources(group: pd.DataFrame) -> dict[str, float]:
    """Prompt tokens of some engines by where they came from; empty where nothing tells."""
    by_source = group[group["metric"].eq("vllm:prompt_tokens_by_source_total")]
    if by_source.empty:
        return _from_caches(group)
    source = by_source["labels"].map(lambda text: SOURCES.get(label(text, "source"), "other"))
    return dict(by_source.groupby(source)["delta"].sum())


def _from_caches(group: pd.DataFrame) -> dict[str, float]:
    prompt = delta_sum(group, "vllm:prompt_tokens_total")
    gpu, external = (delta_sum(group, f"vllm:{kind}prefix_cache_hits_total") for kind in ("", "external_"))
    return {"gpu": gpu, "external": external, "computed": max(0.0, prompt - gpu - external)} if prompt else {}


def stage_times(table: pd.DataFrame) -> pd.DataFrame:
    """Mean time per request and stage by each role's own histograms: sum's delta / count's delta, in ms.

    A KV load that the engine does in the background is booked as queue time (vLLM's connectors that load asynchronously).
    """
    key: Any
    rows = []
    for key, group in table.groupby(["scenario", "round", "role"], sort=False):
        times = {stage: _mean_ms(group, f"vllm:request_{stage}_time_seconds") for stage in STAGES}
        times["server_ttft"] = _mean_ms(group, "vllm:time_to_first_token_seconds")
        if any(value is not None for value in times.values()):
            count = delta_sum(group, "vllm:time_to_first_token_seconds_count") or delta_sum(
                group, "vllm:request_prefill_time_seconds_count"
            )
            named = {f"{name}_ms": value for name, value in times.items()}
            rows.append({**dict(zip(["scenario", "round", "role"], key, strict=True)), "requests": count, **named})
    columns = ["scenario", "round", "role", "requests", *(f"{stage}_ms" for stage in STAGES), "server_ttft_ms"]
    return pd.DataFrame(rows, columns=columns)


def _mean_ms(group: pd.DataFrame, name: str) -> float | None:
    count = delta_sum(group, f"{name}_count")
    return 1000 * delta_sum(group, f"{name}_sum") / count if count > 0 else None


def gauge_series(table: pd.DataFrame) -> pd.DataFrame:
    """The gauges worth a look over time, added up over labels: at_s, role, metric, value."""
    chosen = table[table["metric"].isin(GAUGES)]
    return chosen.groupby(["at_s", "role", "metric"], sort=True)["value"].sum().reset_index()


def check_client_counts(tier_table: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """The servers' cached tokens beside those that the client was told, per round. Under PD the prefiller's count is the true one."""
    key: Any
    rows = []
    for key, group in tier_table.groupby(["scenario", "round"], sort=False):
        role = next((r for r in ("prefiller", "server") if group["role"].eq(r).any()), group["role"].iloc[0])
        if role == "decoder":
            continue  # it counts what it loads from the prefiller as cached
        mine = group[group["role"].eq(role)]
        told = rounds[rounds["scenario"].eq(key[0]) & rounds["round"].eq(key[1])]
        client = told["reported_cached_tokens"].iloc[0] if len(told) else None
        counted = float(mine[["gpu", "external"]].sum().sum())
        prompt = float(mine[["gpu", "external", "computed"]].sum().sum())
        rows.append((key[0], key[1], role, counted, client, counted / prompt if prompt else None))
    return pd.DataFrame(
        rows, columns=["scenario", "round", "role", "server_cached_tokens", "client_cached_tokens", "server_hit_rate"]
    )
