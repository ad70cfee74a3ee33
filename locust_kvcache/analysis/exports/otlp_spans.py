"""Makes an OpenTelemetry span of each request, with the attributes of the GenAI semantic conventions.

A trace is a session in a round; a session of several turns has a span of its own above them.
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import release
from locust_kvcache.analysis.exports.otlp_json import attributes, identifier, nanoseconds, unknown
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.contract.record import OK

BATCH = 1_000
ROWS_AT_A_TIME = 20_000  # of the requests
INTERNAL, CLIENT = 1, 3  # SpanKind
FINE, FAILED = 1, 2  # StatusCode
COUNTS = {  # attribute: field of the record
    "gen_ai.request.max_tokens": "planned_output_tokens",
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "output_tokens",
    "gen_ai.usage.cache_read.input_tokens": "reported_cached_tokens",
    "http.response.status_code": "http_status",
    "kvcache.round": "round",
    "kvcache.turn": "turn",
    "kvcache.request_index": "request_index",
    "kvcache.planned_cached_tokens": "planned_cached_tokens",
}
FIGURES = {
    "kvcache.ttft_ms": "ttft_ms",
    "kvcache.tpot_ms": "tpot_ms",
    "kvcache.e2e_ms": "e2e_ms",
    "kvcache.connect_ms": "connect_ms",
    "kvcache.schedule_lag_ms": "schedule_lag_ms",
}
TEXTS = {
    "kvcache.scenario": "scenario",
    "kvcache.round_kind": "round_kind",
    "kvcache.window": "window",
    "kvcache.worker": "worker",
    "kvcache.engine": "engine",
    "kvcache.tenant": "tenant",
    "kvcache.clock": "clock",
    "kvcache.client_limited": "client_limited",
}

COLUMNS = tuple(
    dict.fromkeys(
        [
            *("scenario", "round", "session_id", "request_index", "started_at_s", "status", "error", "finish_reason"),
            *COUNTS.values(),
            *FIGURES.values(),
            *TEXTS.values(),
        ]
    )
)


def operation(run: Mapping[str, Any], scenario: str) -> str:
    """gen_ai.operation.name; run.json says which API was used, by scenario where they differ."""
    api = (run.get("server") or {}).get("api")
    name = api.get(scenario) if isinstance(api, dict) else api
    return "text_completion" if name == "completions" else "chat"


def provider(run: Mapping[str, Any], scenario: str) -> str:
    """gen_ai.provider.name tells the dialect of the API, not who runs the model."""
    api = (run.get("server") or {}).get("api")
    return "anthropic" if (api.get(scenario) if isinstance(api, dict) else api) == "messages" else "openai"


def shared_attributes(run: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    """Of every span and metric of a scenario."""
    address = urlsplit(str((run.get("deployment") or {}).get("endpoint") or ""))
    return {
        "gen_ai.operation.name": operation(run, scenario),
        "gen_ai.provider.name": provider(run, scenario),
        "gen_ai.request.model": run.get("model"),
        "server.address": address.hostname,
        "server.port": address.port,
    }


def span_batches(analysis: Analysis) -> Iterator[list[dict[str, Any]]]:
    """All spans of requests that were sent, about a thousand at a time, whole sessions."""
    batch: list[dict[str, Any]] = []
    for (scenario, number, session), turns in itertools.groupby(_sent_rows(analysis.requests), key=_session):
        key = (analysis.run_id, scenario, number, session)
        shared = shared_attributes(analysis.stats["run"], str(scenario))
        spans = [_request_span(row, shared, key) for row in turns]
        batch += [_session_span(spans, key), *spans] if len(spans) > 1 else spans
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _session(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return row["scenario"], row["round"], row["session_id"]


def _sent_rows(requests: pd.DataFrame) -> Iterator[Mapping[Any, Any]]:
    """The requests that were sent: sessions in the order in which they first occur, each in the order of time."""
    sent = np.flatnonzero(requests["started_at_s"].notna())
    code = np.zeros(len(sent), dtype=np.int64)
    for name in ("scenario", "round", "session_id"):
        found, values = pd.factorize(requests[name].array[sent])
        code = pd.factorize(code * len(values) + found)[0]
    order = sent[np.lexsort((requests["started_at_s"].to_numpy(dtype="float64")[sent], code))]
    release()
    columns = requests[[name for name in COLUMNS if name in requests]]
    for first in range(0, len(order), ROWS_AT_A_TIME):
        yield from columns.iloc[order[first : first + ROWS_AT_A_TIME]].to_dict("records")
        release()


def _request_span(row: Mapping[Any, Any], shared: Mapping[str, Any], key: tuple[Any, ...]) -> dict[str, Any]:
    """A request whose end is unknown (it failed before its last chunk) has no length."""
    begun, length_ms = float(row["started_at_s"]), row.get("e2e_ms")
    failed = row["status"] != OK
    found = {
        **shared,
        "gen_ai.conversation.id": _conversation(key),
        "gen_ai.response.finish_reasons": None if unknown(row.get("finish_reason")) else [str(row["finish_reason"])],
        "gen_ai.response.time_to_first_chunk": _seconds(row.get("ttft_ms")),
        "error.type": str(row["status"]) if failed else None,
        **{name: _whole(row.get(field)) for name, field in COUNTS.items()},
        **{name: row.get(field) for name, field in FIGURES.items()},
        **{name: _text(row.get(field)) for name, field in TEXTS.items()},
    }
    span: dict[str, Any] = {
        "traceId": identifier(32, *key),
        "spanId": identifier(16, *key, row["request_index"]),
        "name": f"{shared['gen_ai.operation.name']} {shared['gen_ai.request.model']}",
        "kind": CLIENT,
        "startTimeUnixNano": nanoseconds(begun),
        "endTimeUnixNano": nanoseconds(begun + (0 if unknown(length_ms) else float(length_ms or 0) / 1000)),
        "attributes": attributes(found),
        "status": {"code": FAILED, "message": _text(row.get("error")) or ""} if failed else {"code": FINE},
    }
    return span


def _session_span(spans: list[dict[str, Any]], key: tuple[Any, ...]) -> dict[str, Any]:
    """From the first send to the last end; the requests become its children."""
    own = identifier(16, *key, "session")
    for span in spans:
        span["parentSpanId"] = own
    _, scenario, number, _ = key
    found = {"gen_ai.conversation.id": _conversation(key), "kvcache.scenario": str(scenario), "kvcache.round": int(number)}
    return {
        "traceId": spans[0]["traceId"],
        "spanId": own,
        "name": f"session of {scenario}",
        "kind": INTERNAL,
        "startTimeUnixNano": min((span["startTimeUnixNano"] for span in spans), key=int),
        "endTimeUnixNano": max((span["endTimeUnixNano"] for span in spans), key=int),
        "attributes": attributes(found),
    }


def _conversation(key: tuple[Any, ...]) -> str:
    run_id, scenario, number, session = key
    return f"{run_id}/{scenario}/round-{number}/session-{session}"


def _seconds(milliseconds: Any) -> float | None:
    return None if unknown(milliseconds) else float(milliseconds) / 1000


def _whole(value: Any) -> int | None:
    return None if unknown(value) else int(value)


def _text(value: Any) -> Any:
    return None if value is None or pd.isna(value) else value if isinstance(value, bool) else str(value)
