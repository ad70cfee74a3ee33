"""The engine's counters come in, a metrics page with vLLM's names goes out."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from emulator.engine import Engine


class EngineCollector:
    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self._labels = {"model_name": model, "engine": "0"}

    def _one(self, family: Metric, value: float, **labels: str) -> Metric:
        family.add_sample(family.name + ("_total" if family.type == "counter" else ""), {**self._labels, **labels}, value)
        return family

    def _sum_and_count(self, name: str, help_text: str, sum_s: float) -> Metric:
        family = HistogramMetricFamily(name, help_text)
        family.add_sample(f"{name}_bucket", {**self._labels, "le": "+Inf"}, self._engine.counters.requests)
        family.add_sample(f"{name}_sum", self._labels, sum_s)
        family.add_sample(f"{name}_count", self._labels, self._engine.counters.requests)
        return family

    def collect(self) -> Iterator[Metric]:
        c, cache, profile = self._engine.counters, self._engine.cache, self._engine.profile
        config = GaugeMetricFamily("vllm:cache_config_info", "Information of the LLMEngine CacheConfig")
        blocks, size = profile.capacity_tokens // profile.block_size, profile.block_size
        yield self._one(config, 1.0, block_size=str(size), num_gpu_blocks=str(blocks), enable_prefix_caching="True")
        for name, help_text, value in (
            ("vllm:prompt_tokens", "Number of prefill tokens processed.", c.prompt_tokens),
            ("vllm:generation_tokens", "Number of generation tokens processed.", c.generation_tokens),
            ("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", cache.queries_tokens),
            ("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", cache.hits_tokens),
        ):
            yield self._one(CounterMetricFamily(name, help_text), value)
        by_source = CounterMetricFamily("vllm:prompt_tokens_by_source", "Number of prompt tokens by source.")
        for source, value in (("local_compute", c.computed_tokens), ("local_cache_hit", c.prompt_tokens - c.computed_tokens)):
            self._one(by_source, value, source=source)
        yield by_source
        yield self._one(GaugeMetricFamily("vllm:num_requests_running", "Requests in model execution batches."), c.running)
        yield self._one(GaugeMetricFamily("vllm:num_requests_waiting", "Requests waiting to be processed."), c.waiting)
        usage = len(cache) / cache.capacity_blocks if cache.capacity_blocks else 0.0
        yield self._one(GaugeMetricFamily("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."), usage)
        for name, help_text, sum_s in (
            ("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", c.ttft_s),
            ("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", c.e2e_s),
            ("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", c.queue_s),
            ("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", c.prefill_s),
            ("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", c.decode_s),
        ):
            yield self._sum_and_count(name, help_text, sum_s)


def metrics_page(engine: Engine, model: str) -> bytes:
    registry = CollectorRegistry()
    registry.register(EngineCollector(engine, model))
    return generate_latest(registry)
