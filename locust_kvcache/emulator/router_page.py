"""Makes the metrics page of the emulated router, with the names of vllm-router 0.1.17 (there on its own port)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass
class RouterCounts:
    workers: dict[str, int]  # engine URL -> requests sent to it
    requests: dict[str, int] = field(default_factory=dict)  # route -> requests
    errors: dict[tuple[str, str], int] = field(default_factory=dict)  # (route, type) -> requests

    def add_request(self, route: str) -> None:
        self.requests[route] = self.requests.get(route, 0) + 1

    def add_error(self, route: str, kind: str) -> None:
        self.errors[(route, kind)] = self.errors.get((route, kind), 0) + 1

    def errors_of(self, kind: str) -> int:
        return sum(count for (_, one), count in self.errors.items() if one == kind)


@dataclass(frozen=True, eq=False)  # a registry wants it hashable
class RouterPage:
    counts: RouterCounts
    policy: str
    running: dict[str, int]

    def collect(self) -> Iterator[Metric]:
        counts = self.counts
        requests = CounterMetricFamily("vllm_router_requests", "Requests by route.", labels=["route"])
        for route, count in counts.requests.items():
            requests.add_metric([route], count)
        errors = CounterMetricFamily("vllm_router_request_errors", "Requests that failed.", labels=["route", "error_type"])
        for labels, count in counts.errors.items():
            errors.add_metric(list(labels), count)
        processed = CounterMetricFamily("vllm_router_processed_requests", "Requests by worker.", labels=["worker"])
        decisions = CounterMetricFamily("vllm_router_policy_decisions", "Choices by policy.", labels=["policy", "worker"])
        for worker, count in counts.workers.items():
            processed.add_metric([worker], count)
            decisions.add_metric([self.policy, worker], count)
        running = GaugeMetricFamily("vllm_router_running_requests", "Requests under way by worker.", labels=["worker"])
        health = GaugeMetricFamily("vllm_router_worker_health", "1: the worker is healthy.", labels=["worker"])
        for worker, count in self.running.items():
            running.add_metric([worker], count)
            health.add_metric([worker], 1)
        active = GaugeMetricFamily("vllm_router_active_workers", "Workers in use.")
        active.add_metric([], len(self.running))
        yield from (requests, errors, processed, decisions, running, health, active)

    def render(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)
