"""Writes a server's metrics page with the names, types and labels of vLLM and LMCache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from locust_kvcache.emulator.histogram import Histogram
from locust_kvcache.emulator.recorder import TABLE
from locust_kvcache.emulator.server import Server

STORE_OPERATIONS = (
    ("", "Number of Mooncake store communication operations.", 0),
    ("_keys", "Number of Mooncake store keys touched by operations.", 2),
    ("_bytes", "Number of bytes transferred by Mooncake store operations.", 3),
    ("_failed_keys", "Number of Mooncake store keys that failed in operations.", 4),
)


@dataclass(frozen=True, eq=False)  # a registry wants it hashable
class Page:
    """`prefill` counts prompts and caches, `decode` output; one server is both. `histograms` may mix two servers' and the client's view."""

    model: str
    prefill: Server
    decode: Server
    histograms: dict[str, Histogram]
    started_s: float

    @property
    def labels(self) -> dict[str, str]:
        return {"engine": "0", "model_name": self.model}

    def _family(self, kind: type[Metric], name: str, help_text: str, *samples: tuple[dict[str, str], float]) -> Metric:
        family = kind(f"vllm:{name}", help_text, labels=sorted({**self.labels, **samples[0][0]}))  # type: ignore[call-arg]
        for extra, value in samples:
            labels = {**self.labels, **extra}
            family.add_metric([labels[key] for key in sorted(labels)], value)  # type: ignore[attr-defined]
        return family

    def counter(self, name: str, help_text: str, *samples: tuple[dict[str, str], float]) -> Metric:
        return self._family(CounterMetricFamily, name, help_text, *samples)

    def gauge(self, name: str, help_text: str, *samples: tuple[dict[str, str], float]) -> Metric:
        return self._family(GaugeMetricFamily, name, help_text, *samples)

    def collect(self) -> Iterator[Metric]:
        help_text = "Start time of the process since unix epoch in seconds."
        yield GaugeMetricFamily("process_start_time_seconds", help_text, value=round(self.started_s, 2))
        yield from self._store()
        yield from self._load()
        yield from self._cache()
        yield from self._tokens()
        for name, _, _ in TABLE:
            yield self.histograms[name].family(self.labels)
        size, pool = self.prefill.block_size, self.prefill.pool
        info = {"block_size": str(size), "enable_prefix_caching": str(self.prefill.spec.prefix_caching)}
        info |= {
            "num_gpu_blocks": str(pool.blocks + 1),
            "kv_cache_size_tokens": str(pool.blocks * size),
            "prefix_caching_hash_algo": "blake2b",
        }
        yield self.gauge("cache_config_info", "Information of the LLMEngine CacheConfig", (info, 1.0))
        yield from self._lmcache()

    def _load(self) -> Iterator[Metric]:
        servers = {self.prefill.name: self.prefill, self.decode.name: self.decode}.values()
        running, capacity = sum(len(one.running) for one in servers), sum(len(one.waiting) for one in servers)
        deferred = sum(len(one.loading) for one in servers)
        yield self.gauge("num_requests_running", "Number of requests in model execution batches.", ({}, running))
        yield self.gauge("num_requests_waiting", "Number of requests waiting to be processed.", ({}, capacity + deferred))
        help_text = "Number of waiting requests by reason."
        reasons = (({"reason": "capacity"}, capacity), ({"reason": "deferred"}, deferred))
        yield self.gauge("num_requests_waiting_by_reason", help_text, *reasons)
        used = max(1 - one.pool.free_blocks / max(1, one.pool.blocks) for one in servers)
        yield self.gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", ({}, used))

    def _cache(self) -> Iterator[Metric]:
        c = self.prefill.counters
        text = "refix cache {} in terms of number of {} tokens."
        yield self.counter("prefix_cache_queries", "P" + text.format("queries,", "queried"), ({}, c.queries_tokens))
        yield self.counter("prefix_cache_hits", "P" + text.format("hits,", "cached"), ({}, c.hits_tokens))
        external = "External p" + text
        via = "from KV connector cross-instance cache sharing,"
        queries = external.format(f"queries {via}", "queried")
        yield self.counter("external_prefix_cache_queries", queries, ({}, c.external_queries_tokens))
        yield self.counter("external_prefix_cache_hits", external.format(f"hits {via}", "cached"), ({}, c.external_hits_tokens))
        preemptions = self.prefill.counters.preemptions + (self.decode is not self.prefill) * self.decode.counters.preemptions
        yield self.counter("num_preemptions", "Cumulative number of preemption from the engine.", ({}, preemptions))

    def _tokens(self) -> Iterator[Metric]:
        c, d = self.prefill.counters, self.decode.counters
        local = c.prompt_tokens - c.computed_tokens - c.external_tokens
        yield self.counter("prompt_tokens", "Number of prefill tokens processed.", ({}, c.prompt_tokens))
        sources = (("local_compute", c.computed_tokens), ("local_cache_hit", local), ("external_kv_transfer", c.external_tokens))
        yield self.counter(
            "prompt_tokens_by_source", "Number of prompt tokens by source.", *(({"source": s}, v) for s, v in sources)
        )
        cached = c.prompt_tokens - c.computed_tokens
        yield self.counter("prompt_tokens_cached", "Number of cached prompt tokens (local + external).", ({}, cached))
        disk = min(self.prefill.connector.disk_tokens, c.external_hits_tokens)
        others = c.external_hits_tokens - disk
        tiers = {"device": c.hits_tokens, "host": 0, "p2p": 0, "disk": disk, "external_unspecified": others}
        help_text = "Prefix-cache hit tokens by the cache tier that supplied them."
        yield self.counter("prompt_tokens_cached_by_source", help_text, *(({"source": s}, v) for s, v in tiers.items()))
        yield self.counter("generation_tokens", "Number of generation tokens processed.", ({}, d.generation_tokens))
        reasons = (({"finished_reason": reason}, float(count)) for reason, count in d.finished.items())
        yield self.counter("request_success", "Count of successfully processed requests.", *reasons)

    def _store(self) -> Iterator[Metric]:
        rows = self.prefill.connector.store_metrics.operations
        if not rows:
            return
        yield from self._store_times(rows)
        for suffix, help_text, column in STORE_OPERATIONS:
            samples = (({"operation": name, "status": status}, row[column]) for (name, status), row in rows.items())
            yield self.counter(f"mooncake_store_operation{suffix}", help_text, *samples)

    def _store_times(self, rows: dict[tuple[str, str], list[float]]) -> Iterator[Metric]:
        """Sums and counts; of the buckets only the last, since single durations are not kept."""
        labels = sorted({**self.labels, "operation": "", "status": ""})
        name = "vllm:mooncake_store_operation_time_seconds"
        family = HistogramMetricFamily(name, "Histogram of Mooncake store communication time.", labels=labels)
        for (operation, status), row in rows.items():
            with_labels = {**self.labels, "operation": operation, "status": status}
            family.add_metric([with_labels[key] for key in labels], [("+Inf", row[0])], row[1])
        yield family

    def _lmcache(self) -> Iterator[Metric]:
        """LMCache in process (chunks of 256 and a host tier): its own names, its own labels."""
        connector = self.prefill.connector
        if connector.cpu is None:
            return
        labels = {"model_name": self.model, "worker_id": "0", "role": "worker", "served_model_name": self.model}
        counts, c = connector.cpu.counts, self.prefill.counters
        for name, help_text, value in (
            ("num_retrieve_requests", "Total number of retrieve requests sent to lmcache", counts["gets"]),
            ("num_store_requests", "Total number of store requests sent to lmcache", counts["puts"]),
            ("num_lookup_requests", "Total number of lookup requests sent to lmcache", counts["lookups"]),
            ("num_requested_tokens", "Total number of tokens requested from lmcache", connector.retrieved_tokens),
            ("num_hit_tokens", "Total number of tokens hit in lmcache", connector.retrieved_tokens),
            ("num_stored_tokens", "Total number of tokens stored in lmcache", connector.put_tokens),
            ("num_lookup_tokens", "Total number of tokens requested in lookup from lmcache", c.queries_tokens),
            ("num_lookup_hits", "Total number of tokens hit in lookup from lmcache", connector.looked_up_hits),
            ("num_vllm_hit_tokens", "Number of hit tokens in vllm", c.hits_tokens),
            ("num_prompt_tokens", "Number of prompt tokens in lmcache", c.queries_tokens),
            ("local_cpu_evict_count", "Total number of evictions in the local CPU backend", counts["evictions"]),
            ("local_cpu_evict_keys_count", "Total number of evicted keys in the local CPU backend", counts["evicted_chunks"]),
        ):
            family = CounterMetricFamily(f"lmcache:{name}", help_text, labels=list(labels))
            family.add_metric(list(labels.values()), value)
            yield family
        healthy = 0.0 if connector.lies.degraded_s is not None else 1.0
        for name, help_text, level in (
            ("local_cache_usage", "Local cache usage (bytes) of lmcache", connector.cpu.used_bytes),
            ("lmcache_is_healthy", "Whether lmcache is healthy", healthy),
        ):
            gauge = GaugeMetricFamily(f"lmcache:{name}", help_text, labels=list(labels))
            gauge.add_metric(list(labels.values()), level)
            yield gauge

    def render(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
