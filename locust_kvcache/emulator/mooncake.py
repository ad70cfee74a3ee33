"""Serves the metrics page and admin pages of mooncake_master 0.3.13 for an emulated store."""

from __future__ import annotations

from pathlib import Path

from locust_kvcache.emulator.remote import handle_store
from locust_kvcache.emulator.tiers import Tier
from locust_kvcache.emulator.wire import Connection, HttpRequest

# The names, types and help texts of a real page whose values an emulator without RPCs can't have: zero, as on a fresh master.
TEMPLATE = Path(__file__).resolve().parent / "mooncake_master.txt"
VALUE_SIZE_BOUNDS = (4096, 65536, 262144, 1048576, 4194304, 16777216, 67108864)


def values(store: Tier) -> dict[str, float]:
    """What the engines' connectors do to a master: they probe with exist, get only what exists, and put in batches."""
    c, size = store.counts, store.chunk_bytes
    put, got = c["put_chunks"], c["get_chunks"]
    return {
        "master_allocated_bytes": store.used_bytes,
        "master_total_capacity_bytes": store.spec.capacity_bytes,
        "master_key_count": store.held_chunks,
        "master_active_clients": 1,
        "master_batch_exist_key_requests_total": c["lookups"],
        "master_batch_exist_key_items_total": c["lookup_chunks"],
        "master_batch_get_replica_list_requests_total": c["gets"],
        "master_batch_get_replica_list_items_total": got,
        "master_batch_put_start_requests_total": c["puts"],
        "master_batch_put_start_items_total": put,
        "master_batch_put_end_requests_total": c["puts"],
        "master_batch_put_end_items_total": put - c["failed_chunks"],
        "master_batch_put_revoke_items_total": c["failed_chunks"],
        "master_remove_all_requests_total": c["clears"],
        "mem_cache_hit_nums_": got,
        "mem_cache_hit_bytes_total": got * size,
        "mem_cache_nums_": store.held_chunks,
        "valid_get_nums_": got,
        "total_get_nums_": got,
        "master_successful_evictions_total": c["evictions"],
        "master_attempted_evictions_total": c["evictions"],
        "master_evicted_key_count": c["evicted_chunks"],
        "master_evicted_size_bytes": c["evicted_chunks"] * size,
        "master_successful_evictions_mem": c["evictions"],
        "master_attempted_evictions_mem": c["evictions"],
        "master_evicted_key_count_mem": c["evicted_chunks"],
        "master_evicted_size_bytes_mem": c["evicted_chunks"] * size,
    }


def _value_sizes(store: Tier) -> list[str]:
    landed = store.counts["put_chunks"] - store.counts["failed_chunks"]
    name = "master_value_size_bytes"
    lines = [f'{name}_bucket{{le="{bound:.6f}"}} {landed if store.chunk_bytes <= bound else 0}' for bound in VALUE_SIZE_BOUNDS]
    return [
        *lines,
        f'{name}_bucket{{le="+Inf"}} {landed}',
        f"{name}_sum {landed * store.chunk_bytes:.0f}",
        f"{name}_count {landed}",
    ]


def metrics_page(store: Tier) -> str:
    """The template's families in its order, each with its value now."""
    now, lines = values(store), []
    for line in TEMPLATE.read_text(encoding="utf-8").splitlines():
        name, kind, help_text = line.split("\t")
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
        if kind == "histogram":
            lines += _value_sizes(store)
        elif name.startswith("segment_"):
            used = now["master_allocated_bytes" if "allocated" in name else "master_total_capacity_bytes"]
            lines.append(f'{name}{{segment="emulator"}} {used:.0f}')
        else:
            lines.append(f"{name} {now.get(name, 0):.0f}")
    return "\n".join(lines) + "\n"


class MasterPages:
    """The master's admin port (its --metrics_port)."""

    def __init__(self, store: Tier) -> None:
        self.store = store

    def handle(self, request: HttpRequest, connection: Connection) -> None:
        path, store = request.path, self.store
        if handle_store(store, request, connection):
            return
        if path == "/metrics":
            connection.answer(request, 200, metrics_page(store).encode(), "text/plain; version=0.0.4")
        elif path == "/version":
            connection.answer_json(request, {"version": "emulator (mooncake_master 0.3.13 pages)"})
        elif path == "/health":
            connection.answer(request, 200, b"OK", "text/plain")
        elif path == "/role":
            connection.answer(request, 200, b"leader", "text/plain")
        elif path == "/metrics/summary":
            used, size = store.used_bytes / 2**30, store.spec.capacity_bytes / 2**30
            text = f"Mem Storage: {used:.2f} GB / {size:.2f} GB | Keys: {store.held_chunks}"
            connection.answer(request, 200, text.encode(), "text/plain")
        elif path == "/get_all_keys":
            connection.answer(request, 200, "".join(f"{key}\n" for key in store.chunk_keys()).encode(), "text/plain")
        else:
            connection.answer(request, 404, b"not found", "text/plain")
