"""Exports an analysed run to OpenTelemetry: metrics of each round and a span of each request, as OTLP."""

from __future__ import annotations

from typing import Any

from locust_kvcache import __version__
from locust_kvcache.analysis.exports.otlp_json import SCOPE, Endpoint, Files, attributes
from locust_kvcache.analysis.exports.otlp_metrics import metrics
from locust_kvcache.analysis.exports.otlp_spans import span_batches
from locust_kvcache.analysis.exports.values import parameters
from locust_kvcache.analysis.pipeline import Analysis

SERVICE = "locust-kvcache"
OF_THE_RUN = ("run_id", "deployment", "deployment_kind", "gpus", "server_version", "users", "seed", "nonce")


def export_otlp(analysis: Analysis, to: Files | Endpoint) -> str:
    """Send everything; a sentence on what was sent."""
    resource = {"attributes": attributes(_resource(analysis))}
    spans = 0
    for batch in span_batches(analysis):
        to.send("traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": SCOPE, "spans": batch}]}]})
        spans += len(batch)
    found = metrics(analysis)
    to.send("metrics", {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": SCOPE, "metrics": found}]}]})
    unsent = int(analysis.requests["started_at_s"].isna().sum())
    rest = f"; {unsent:,} requests were never sent and have no span" if unsent else ""
    return f"{spans:,} spans and {len(found)} metrics of {len(analysis.stats['rounds'])} rounds{rest}"


def _resource(analysis: Analysis) -> dict[str, Any]:
    known = parameters(analysis)
    return {
        "service.name": SERVICE,
        "service.version": __version__,
        **{f"kvcache.{key}": known.get(key) for key in OF_THE_RUN},
    }
