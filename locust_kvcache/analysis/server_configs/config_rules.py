"""Checks LMCache and Mooncake files for keys that nothing reads any more, and names what to write instead.

Read in the sources of lmcache 0.5.6, vllm 0.33.0 and mooncake 0.3.13.post1, where an unknown key is a line in a log at most.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REFUSED, WARNING = "refused", "warning"
MASTER, RDMA = "mooncake_master_server_addr", "mooncake_rdma_devices"
GIB = 1024**3

LMCACHE_KEYS = frozenset(
    """app_id audit_actual_remote_url blend_check_layers blend_min_tokens blend_recompute_ratios blend_special_str
    blend_thresholds blocking_timeout_secs cache_policy chunk_size chunk_statistics_auto_exit_target_unique_chunks
    chunk_statistics_auto_exit_timeout_hours chunk_statistics_auto_start_statistics chunk_statistics_strategy
    controller_pull_url controller_reply_url enable_async_loading enable_blending enable_chunk_statistics enable_controller
    enable_hidden_state_cache enable_kv_events enable_lazy_memory_allocator enable_p2p enable_pd
    enable_scheduler_bypass_lookup external_lookup_client extra_config gds_backend gds_buffer_size gds_path
    gds_path_sharding hidden_state_layers hidden_states_retrieve_mode hit_miss_ratio internal_api_server_enabled
    internal_api_server_host internal_api_server_include_index_list internal_api_server_port_start
    internal_api_server_socket_path_prefix lazy_memory_expand_trigger_ratio lazy_memory_initial_ratio lazy_memory_safe_size
    lazy_memory_step_ratio lmcache_instance_id lmcache_worker_heartbeat_delay_time lmcache_worker_heartbeat_time
    lmcache_worker_ids lmcache_worker_ports local_cpu local_cpu_use_hugepages local_disk local_disk_path_sharding
    lookup_server_worker_ids lookup_timeout_ms maru_path maru_pool_size max_hidden_state_cpu_size max_local_cpu_size
    max_local_disk_size min_retrieve_tokens mp_host mp_port nixl_backends nixl_buffer_device nixl_buffer_size numa_mode
    p2p_host p2p_init_ports p2p_lookup_ports pd_allocation_timeout_sec pd_backend_mode pd_bidirectional pd_buffer_device
    pd_buffer_size pd_condition_poll_interval_sec pd_max_prefill_len pd_peer_alloc_port pd_peer_host pd_peer_init_port
    pd_peer_query_port pd_proxy_host pd_proxy_port pd_role pd_shutdown_timeout_sec pd_skip_proxy_notification
    pin_check_interval_sec pin_timeout_sec pre_caching_hash_algorithm priority_limit py_enable_gc remote_config_url
    remote_serde remote_storage_plugins remote_url reserve_local_cpu_size retrieve_locations run_script_api_enabled
    runtime_plugin_locations save_decode_cache save_unfull_chunk script_allowed_imports storage_plugins store_location
    transfer_channel use_gds use_gpu_connector_v3 use_layerwise""".split()
)
LMCACHE_RENAMED = {  # still understood by their old names
    "enable_xpyd": "enable_pd",
    "nixl_peer_host": "pd_peer_host",
    "nixl_peer_init_port": "pd_peer_init_port",
    "nixl_peer_alloc_port": "pd_peer_alloc_port",
    "nixl_proxy_host": "pd_proxy_host",
    "nixl_proxy_port": "pd_proxy_port",
    "nixl_role": "pd_role",
    "controller_url": "controller_pull_url",
    "lmcache_worker_port": "lmcache_worker_ports",
    "plugin_locations": "runtime_plugin_locations",
    "external_backends": "storage_plugins",
}
STORE_KEYS = (
    "local_hostname",
    "metadata_server",
    "global_segment_size",
    "local_buffer_size",
    "protocol",
)  # with or without mooncake_
STORE_ONLY = ("tenant_id", "ipc_socket_path", "enable_client_http_server", "client_http_port", "enable_ssd_offload")
LMCACHE_ONLY = (
    *("transfer_timeout", "storage_root_dir", "mooncake_prefer_local_alloc", "save_chunk_meta", "lookup_backoff_time"),
    *("save_only_first_rank", "first_rank_max_local_cpu_size", "remote_enable_mla_worker_id_as0", "force_store_wait"),
)
EXTRA_KEYS = frozenset((*STORE_KEYS, *(f"mooncake_{key}" for key in (*STORE_KEYS, *STORE_ONLY)), MASTER, RDMA, *LMCACHE_ONLY))
DEAD_EXTRA = {  # passed on, or dropped, but read by nobody
    **dict.fromkeys(("master_server_address", "mooncake_master_server_address", "master_server_addr"), MASTER),
    **dict.fromkeys(("device_name", "mooncake_device_name", "rdma_devices"), RDMA),
}
VLLM_JSON_KEYS = frozenset(
    "mode metadata_server master_server_address protocol device_name global_segment_size local_buffer_size"
    " enable_offload tenant_id".split()
)
PROTOCOLS = ("tcp", "rdma")


@dataclass(frozen=True)
class Finding:
    """One key that does not do what its writer wants."""

    severity: str
    key: str
    found: Any
    why: str
    write: str

    def text(self, file: str) -> str:
        return f"{file}: {self.severity}: key {self.key!r} is {self.found!r}: {self.why}. {self.write}"


def lmcache_findings(config: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with an LMCache YAML for lmcache 0.5.6."""
    for key, value in config.items():
        if key in LMCACHE_RENAMED:
            yield Finding(WARNING, key, value, "an old name", f"Write {LMCACHE_RENAMED[key]}.")
        elif key not in LMCACHE_KEYS:
            yield unknown(key, value, LMCACHE_KEYS)
    url, lookup = str(config.get("remote_url") or ""), str(config.get("external_lookup_client") or "")
    plugins = config.get("remote_storage_plugins") or []
    if url:
        way_out = 'Write remote_storage_plugins: ["mooncakestore"] and the address as extra_config.' + MASTER + "."
        if not url.startswith("mooncakestore://"):
            way_out = "Write remote_storage_plugins."
        yield Finding(WARNING, "remote_url", url, "deprecated, and of a mooncakestore URL no address is read", way_out)
    if lookup.startswith("mooncakestore://"):
        why = "it sets up its client with names that Mooncake ignores, and then looks in 127.0.0.1:50051"
        yield Finding(REFUSED, "external_lookup_client", lookup, why, "Leave it out: the look-up goes to the store without it.")
    if url.startswith("mooncakestore://") or any(str(name).startswith("mooncakestore") for name in plugins):
        yield from _store_findings(config)
    chunk = config.get("chunk_size", 256)
    if not isinstance(chunk, int) or chunk <= 0 or chunk % 16:
        why = "chunks are made of whole blocks of the engine, which hold 16 tokens or a multiple"
        yield Finding(REFUSED, "chunk_size", chunk, why, "Write 256, or 128.")


def _store_findings(config: Mapping[str, Any]) -> Iterator[Finding]:
    """What is wrong with the Mooncake part of an LMCache YAML (`extra_config`)."""
    extra = config.get("extra_config") or {}
    yield from setup_findings(extra, "extra_config.")
    staging = config.get("max_local_cpu_size", 5.0)
    if not isinstance(staging, int | float) or staging <= 0:
        why = "every load and store is staged in this pinned memory, also with local_cpu: false"
        yield Finding(REFUSED, "max_local_cpu_size", staging, why, "Write GiB per worker, 5 or more.")
    if extra.get("save_chunk_meta", True):
        why = "with the metadata in front of each chunk LMCache puts one by one instead of in a batch"
        yield Finding(WARNING, "extra_config.save_chunk_meta", extra.get("save_chunk_meta"), why, "Write save_chunk_meta: false.")


def setup_findings(extra: Mapping[str, Any], prefix: str = "") -> Iterator[Finding]:
    """The keys with which LMCache sets up Mooncake's client: those in `extra_config`, or in the JSON of MOONCAKE_CONFIG_PATH."""
    for key, value in extra.items():
        if key in DEAD_EXTRA:
            why = "ignored without a word by lmcache 0.5.6 with mooncake 0.3.13: the server stays healthy and its cache is dead"
            yield Finding(REFUSED, prefix + key, value, why, f"Write {DEAD_EXTRA[key]}: {value!r}.")
        elif key not in EXTRA_KEYS:
            yield unknown(key, value, EXTRA_KEYS, prefix)
    if not extra.get(MASTER):
        why = "without it the client looks for the master at 127.0.0.1:50051"
        yield Finding(
            REFUSED, prefix + MASTER, extra.get(MASTER), why, 'Write "mooncake-master:50052", the master\'s host and port.'
        )
    for key in ("global_segment_size", "local_buffer_size"):
        name = key if key in extra else f"mooncake_{key}"
        size = extra.get(name)
        if name in extra and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            yield Finding(
                REFUSED,
                prefix + name,
                size,
                "not every unit is understood",
                "Write bytes as an integer: 100 GiB is 107374182400.",
            )
    yield from _protocol(extra.get("protocol", extra.get("mooncake_protocol", "tcp")), prefix)


def _protocol(value: Any, prefix: str) -> Iterator[Finding]:
    if value not in PROTOCOLS:
        yield Finding(REFUSED, f"{prefix}protocol", value, "not a protocol of Mooncake's", f"Allowed: {', '.join(PROTOCOLS)}.")


def mooncake_json_findings(config: Mapping[str, Any]) -> Iterator[Finding]:
    """A JSON for MOONCAKE_CONFIG_PATH. vLLM's connectors and LMCache read it by different names: a mooncake_ key says it is LMCache's."""
    if any(str(key).startswith("mooncake_") for key in config):
        yield from setup_findings(config)
        return
    for key, value in config.items():
        if key in ("master_server_addr", "rdma_devices"):
            right = {"master_server_addr": "master_server_address", "rdma_devices": "device_name"}[key]
            yield Finding(REFUSED, key, value, "vLLM's connectors don't read it", f"Write {right} (for LMCache: mooncake_{key}).")
        elif key not in VLLM_JSON_KEYS:
            yield unknown(key, value, VLLM_JSON_KEYS)
    if not config.get("master_server_address"):
        found = config.get("master_server_address")
        yield Finding(REFUSED, "master_server_address", found, "the client has no master", 'Write "mooncake-master:50052".')
    if config.get("mode", "embedded") == "embedded" and config.get("global_segment_size", 1) in (0, "0"):
        yield Finding(
            REFUSED, "global_segment_size", 0, "mode embedded shares its own memory", "Write a size, or mode standalone-store."
        )
    yield from _protocol(config.get("protocol", "rdma"), "")


def unknown(key: str, value: Any, known: frozenset[str], prefix: str = "") -> Finding:
    near = difflib.get_close_matches(str(key), known, n=1)
    return Finding(
        WARNING, prefix + str(key), value, "unknown", f"Did you mean {near[0]}?" if near else "Check its name, or leave it out."
    )


def memory_gib(config: Mapping[str, Any], workers: int, mla: bool = False) -> float:
    """Host memory of one engine: workers x (staging + segment + buffer). With MLA only its first rank has a store, and its own staging."""
    extra = config.get("extra_config") or {}
    segment = extra.get("mooncake_global_segment_size", extra.get("global_segment_size", 3355443200))
    buffer = extra.get("mooncake_local_buffer_size", extra.get("local_buffer_size", 1073741824))
    staging = config.get("max_local_cpu_size", 5.0)
    if mla and extra.get("save_only_first_rank", True):
        workers, staging = 1, extra.get("first_rank_max_local_cpu_size", staging)
    return workers * (float(staging) + (float(segment) + float(buffer)) / GIB)
