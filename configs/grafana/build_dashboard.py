"""A table of panels stands here, their Grafana dashboard goes out: python configs/grafana/build_dashboard.py > ...dashboards/kvcache.json

Rates and ratios are for watching. For a verdict take the report: it counts deltas around each round.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

SOURCE = {"type": "prometheus", "uid": "prometheus"}
R = "[$__rate_interval]"
ROUND = "scenario, round, window"
ENGINE = "role, instance, engine"  # instance: host and port of the page; engine: of vLLM's data-parallel replicas
ENGINE_NAME = "{{instance}} {{engine}}"
ROUND_NAME = "{{scenario}} {{round}} ({{window}})"


class Panel(NamedTuple):
    title: str
    unit: str  # Grafana's name
    queries: dict[str, str]  # legend -> PromQL
    note: str = ""


def quantile(q: float, metric: str, by: str) -> str:
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{R})))"


def share(part: str, whole: str, by: str) -> str:
    return f"sum by ({by}) (rate({part}{R})) / sum by ({by}) (rate({whole}{R}))"


def mean(metric: str, by: str) -> str:
    return share(f"{metric}_sum", f"{metric}_count", by)


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{R}))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Client: what users see": (
        Panel("TTFT P50 by round", "s", {ROUND_NAME: quantile(0.5, "kvcache_ttft_seconds", ROUND)}),
        Panel("TTFT P90 by round", "s", {ROUND_NAME: quantile(0.9, "kvcache_ttft_seconds", ROUND)}),
        Panel("TPOT P50 by round", "s", {ROUND_NAME: quantile(0.5, "kvcache_tpot_seconds", ROUND)}),
        Panel("End to end P50 by round", "s", {ROUND_NAME: quantile(0.5, "kvcache_e2e_seconds", ROUND)}),
        Panel("Output tokens/s by round", "short", {ROUND_NAME: rate("kvcache_output_tokens_total", ROUND)}),
        Panel("Requests/s by status", "reqps", {"{{status}}": rate("kvcache_requests_total", "status")}),
        Panel(
            "Hit rate as reported to the client, by tokens", "percentunit",
            {ROUND_NAME: share("kvcache_reported_cached_tokens_total", "kvcache_reported_prompt_tokens_total", ROUND)},
            "Only requests whose answer says how many prompt tokens were cached",
        ),
        Panel(
            "Users, rounds ended", "short",
            {"users": "kvcache_users", "{{scenario}}: rounds ended": "kvcache_rounds_ended"},
        ),
        Panel(
            "Load generator: loop lag P99, client-limited requests/s", "short",
            {"lag (s)": quantile(0.99, "kvcache_loop_lag_seconds", "deployment"),
             "client-limited/s": rate("kvcache_client_limited_requests_total", "deployment")},
            "Lag above a few ms, or any client-limited request: add workers before you believe the times",
        ),
    ),
    "vLLM by role": (
        Panel("GPU prefix cache: hits by tokens", "percentunit",
              {"{{role}}": share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", "role")}),
        Panel("Beyond the GPU (connector): hits by tokens", "percentunit",
              {"{{role}}": share("vllm:external_prefix_cache_hits_total", "vllm:external_prefix_cache_queries_total", "role")},
              "Of the tokens that were not on the GPU"),
        Panel("Prompt tokens not computed: all tiers", "percentunit",
              {"{{role}}": '1 - sum by (role) (rate(vllm:prompt_tokens_by_source_total{source="local_compute"}' + R + "))"
               f" / {rate('vllm:prompt_tokens_total', 'role')}"},
              "The prefiller's (or the server's) line is the hit rate; the decoder's should stay near 100 %"),
        Panel("Prompt tokens/s by source", "short",
              {"{{role}} {{source}}": rate("vllm:prompt_tokens_by_source_total", "role, source")}),
        Panel("TTFT P50, the server's own", "s", {"{{role}}": quantile(0.5, "vllm:time_to_first_token_seconds", "role")}),
        Panel("Inter-token latency P50", "s", {"{{role}}": quantile(0.5, "vllm:inter_token_latency_seconds", "role")}),
        Panel("Stage times, mean", "s",
              {f"{{{{role}}}} {stage}": mean(f"vllm:request_{stage}_time_seconds", "role") for stage in ("queue", "prefill", "decode")},
              "Means: the first bucket of these histograms is 0.3 s"),
        Panel("Requests running and waiting", "short",
              {"{{role}} running": "sum by (role) (vllm:num_requests_running)",
               "{{role}} waiting": "sum by (role) (vllm:num_requests_waiting)"}),
        Panel("KV cache in use, preemptions/s", "short",
              {"{{role}} in use (1 = full)": "max by (role) (vllm:kv_cache_usage_perc)",
               "{{role}} preemptions/s": rate("vllm:num_preemptions_total", "role")}),
        Panel("Mooncake store from vLLM: bytes/s by operation", "Bps",
              {"{{role}} {{operation}}": rate("vllm:mooncake_store_operation_bytes_total", "role, operation")},
              "Needs vLLM's own MooncakeStore connector"),
        Panel("Mooncake store from vLLM: mean time by operation", "s",
              {"{{role}} {{operation}}": mean("vllm:mooncake_store_operation_time_seconds", "role, operation")},
              "Needs vLLM's own MooncakeStore connector"),
    ),
    "Engines of a fleet, one line each": (
        Panel("GPU prefix cache by engine: hits by tokens", "percentunit",
              {ENGINE_NAME: share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", ENGINE)}),
        Panel("Prompt tokens/s by engine", "short", {ENGINE_NAME: rate("vllm:prompt_tokens_total", ENGINE)}),
        Panel("Busiest engine / mean, by role", "short",
              {"{{role}}": " / ".join(f"{how} by (role) ({rate('vllm:prompt_tokens_total', ENGINE)})" for how in ("max", "avg"))},
              "Prompt tokens/s. 1 is even, the number of engines is one for all"),
        Panel("Requests running and waiting by engine", "short",
              {f"{ENGINE_NAME} running": f"sum by ({ENGINE}) (vllm:num_requests_running)",
               f"{ENGINE_NAME} waiting": f"sum by ({ENGINE}) (vllm:num_requests_waiting)"}),
        Panel("KV cache in use by engine", "percentunit", {ENGINE_NAME: f"max by ({ENGINE}) (vllm:kv_cache_usage_perc)"}),
        Panel("TTFT P50 by engine, its own", "s", {ENGINE_NAME: quantile(0.5, "vllm:time_to_first_token_seconds", ENGINE)}),
    ),
    "LMCache": (
        Panel("In vLLM's process: hits by tokens", "percentunit",
              {"{{role}}": share("lmcache:num_lookup_hits_total", "lmcache:num_lookup_tokens_total", "role")},
              "Needs LMCache in vLLM's process, and PROMETHEUS_MULTIPROC_DIR. Counts what the GPU had too: do not add to vLLM's own"),
        Panel("In vLLM's process: local tier, remote bytes/s", "bytes",
              {"{{role}} local tier": "sum by (role) (lmcache:local_cache_usage)",
               "{{role}} read/s": rate("lmcache:num_remote_read_bytes_total", "role"),
               "{{role}} written/s": rate("lmcache:num_remote_write_bytes_total", "role")}),
        Panel("LMCache server: hits by tokens", "percentunit",
              {"all": share("lmcache_mp_lookup_hit_tokens_total", "lmcache_mp_lookup_requested_tokens_total", "job")},
              "Counts tokens that the GPU had already as hits: do not add to vLLM's"),
        Panel("LMCache server: memory tier", "bytes", {"in use": "sum(lmcache_mp_l1_memory_usage_bytes)"}),
    ),
    "Mooncake": (
        Panel("Keys in the store", "short", {"keys": "sum(master_key_count)"}),
        Panel("Bytes in the store", "bytes",
              {"allocated": "sum(master_allocated_bytes)", "capacity": "sum(master_total_capacity_bytes)"},
              "Full: the store evicts, and hits are lost"),
        Panel("Puts and look-ups/s", "ops",
              {"puts": "sum(rate(master_put_end_requests_total" + R + ")) + sum(rate(master_batch_put_end_items_total" + R + "))",
               "exists": "sum(rate(master_exist_key_requests_total" + R + ")) + sum(rate(master_batch_exist_key_items_total" + R + "))",
               "gets": "sum(rate(master_get_replica_list_requests_total" + R + "))"
                       " + sum(rate(master_batch_get_replica_list_items_total" + R + "))"},
              "None of Mooncake's counters is a hit rate"),
        Panel("Evictions/s, failed allocations/s", "ops",
              {"evictions": "sum(rate(master_successful_evictions_total" + R + "))",
               "failed allocations": "sum(rate(master_put_start_alloc_failures_total" + R + "))"}),
        Panel("Clients' transfers", "Bps",
              {"read": "sum(rate(mooncake_transfer_read_bytes" + R + "))", "written": "sum(rate(mooncake_transfer_write_bytes" + R + "))"},
              "Needs a Mooncake client with its metrics page"),
    ),
    "GPUs (dcgm-exporter)": (
        Panel("Busy", "percent", {"{{Hostname}} {{gpu}}": "DCGM_FI_DEV_GPU_UTIL"}),
        Panel("Memory in use", "percentunit",
              {"{{Hostname}} {{gpu}}": "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"}),
        Panel("Power", "watt", {"{{Hostname}} {{gpu}}": "DCGM_FI_DEV_POWER_USAGE"}),
    ),
}  # fmt: skip


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(65 + index), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for index, (legend, expr) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.note,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": 8, "h": 8},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"showPoints": "auto", "spanNulls": False}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
                "panels": [],
                "collapsed": False,
            }
        )
        y += 1
        for index, panel in enumerate(row):
            panels.append(_panel(panel, len(panels) + 1, 8 * (index % 3), y + 8 * (index // 3)))
        y += 8 * -(-len(row) // 3)
    return {
        "uid": "kvcache",
        "title": "KV cache: client, vLLM, LMCache, Mooncake, GPUs",
        "tags": ["kvcache"],
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "editable": True,
        "panels": panels,
        "templating": {"list": []},
        "annotations": {"list": []},
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
