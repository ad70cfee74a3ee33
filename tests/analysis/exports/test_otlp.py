"""OpenTelemetry: what a span and a metric say, the files and the endpoint; parsed by OpenTelemetry's own messages where installed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from locust_kvcache.analysis.exports import otlp_spans
from locust_kvcache.analysis.exports.otlp import export_otlp
from locust_kvcache.analysis.exports.otlp_json import Endpoint, Files, attributes, headers_of, identifier
from locust_kvcache.analysis.exports.otlp_metrics import buckets, metrics
from locust_kvcache.analysis.exports.otlp_spans import operation, provider, span_batches
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.contract.errors import BadInput

pytestmark = pytest.mark.slow


def plain(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes by name, without their types."""
    return {each["key"]: next(iter(each["value"].values())) for each in found}


def test_attributes_are_typed_and_what_is_unknown_is_left_out() -> None:
    assert attributes({"a": "x", "b": 3, "c": 0.5, "d": True, "e": ["y"], "f": None, "g": float("nan")}) == [
        {"key": "a", "value": {"stringValue": "x"}},
        {"key": "b", "value": {"intValue": "3"}},
        {"key": "c", "value": {"doubleValue": 0.5}},
        {"key": "d", "value": {"boolValue": True}},
        {"key": "e", "value": {"arrayValue": {"values": [{"stringValue": "y"}]}}},
    ]


def test_a_span_of_each_request_below_its_session(analysis: Analysis) -> None:
    spans = [span for batch in span_batches(analysis) for span in batch]
    sessions = [span for span in spans if span["kind"] == 1]
    requests = [span for span in spans if span["kind"] == 3]
    assert (len(sessions), len(requests)) == (12, 60)
    assert len({span["spanId"] for span in spans}) == 72
    assert {span["parentSpanId"] for span in requests} == {span["spanId"] for span in sessions}
    first = requests[0]
    row = analysis.requests[(analysis.requests["round"] == 1) & (analysis.requests["request_index"] == 0)].iloc[0]
    took_ms = (int(first["endTimeUnixNano"]) - int(first["startTimeUnixNano"])) / 1e6
    assert took_ms == pytest.approx(row["e2e_ms"], abs=0.01)
    found = plain(first["attributes"])
    assert first["name"] == "chat test-model"
    assert first["status"] == {"code": 1}
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.usage.input_tokens"] == str(int(row["prompt_tokens"]))
    assert found["gen_ai.usage.output_tokens"] == "40"
    assert found["gen_ai.response.time_to_first_chunk"] == pytest.approx(row["ttft_ms"] / 1000)
    assert found["gen_ai.conversation.id"] == f"{analysis.run_id}/{row['scenario']}/round-1/session-0"
    assert "error.type" not in found


def test_a_failed_request_has_its_status_and_no_length(analysis: Analysis) -> None:
    requests = analysis.requests.head(1).copy()
    requests["status"], requests["error"], requests["e2e_ms"], requests["ok"] = "timeout", "no answer in 600 s", None, False
    ((span,),) = span_batches(Analysis(analysis.source, analysis.stats, requests))
    assert span["status"] == {"code": 2, "message": "no answer in 600 s"}
    assert plain(span["attributes"])["error.type"] == "timeout"
    assert span["startTimeUnixNano"] == span["endTimeUnixNano"]
    assert "parentSpanId" not in span  # the only turn of its session


def test_sessions_whose_requests_alternate_are_whole_in_parts_of_the_rows(
    analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rows at a time, turn by turn of all sessions: the spans of the run in the order in which it was written."""
    expected = [span for batch in span_batches(analysis) for span in batch]
    monkeypatch.setattr(otlp_spans, "ROWS_AT_A_TIME", 3)
    turns = analysis.requests.sort_values(["round", "turn", "session_id"], kind="stable")
    found = [span for batch in span_batches(replace(analysis, requests=turns)) for span in batch]
    assert found == expected


def test_a_request_that_was_never_sent_has_no_span(analysis: Analysis, tmp_path: Path) -> None:
    requests = analysis.requests.head(5).copy()
    requests.loc[requests.index[0], "started_at_s"] = None
    said = export_otlp(Analysis(analysis.source, analysis.stats, requests), Files(tmp_path))
    assert said.startswith("5 spans and ")  # four requests and their session
    assert said.endswith("; 1 requests were never sent and have no span")


@pytest.mark.parametrize(
    ("api", "name", "who"),
    [("chat", "chat", "openai"), ("completions", "text_completion", "openai"), ("messages", "chat", "anthropic"), (None, "chat", "openai"),
     ({"a": "chat", "s": "completions"}, "text_completion", "openai")],
)  # fmt: skip
def test_the_api_gives_operation_and_provider(api: object, name: str, who: str) -> None:
    assert (operation({"server": {"api": api}}, "s"), provider({"server": {"api": api}}, "s")) == (name, who)


def test_buckets_by_hand() -> None:
    assert buckets(pd.Series([0.5, 1.0, 1.5, 9.0]), (1.0, 2.0)) == {
        "count": "4", "sum": 12.0, "min": 0.5, "max": 9.0, "bucketCounts": ["2", "1", "1"], "explicitBounds": [1.0, 2.0],
    }  # fmt: skip


def test_metrics_of_each_round(analysis: Analysis) -> None:
    found = {metric["name"]: metric for metric in metrics(analysis)}
    durations = found["gen_ai.client.operation.duration"]["histogram"]
    assert durations["aggregationTemporality"] == 2
    assert [point["count"] for point in durations["dataPoints"]] == ["30", "30"]
    tokens = [
        plain(point["attributes"])["gen_ai.token.type"] for point in found["gen_ai.client.token.usage"]["histogram"]["dataPoints"]
    ]
    assert tokens == ["input", "output", "input", "output"]
    rates = [point["asDouble"] for point in found["kvcache.hit_rate"]["gauge"]["dataPoints"]]
    assert rates == pytest.approx([row["hit_rate"] for row in analysis.stats["rounds"]])
    assert rates[1] > rates[0]


def test_files_are_the_same_again(analysis: Analysis, tmp_path: Path) -> None:
    export_otlp(analysis, Files(tmp_path))
    first = (tmp_path / "otlp_traces.jsonl").read_text()
    export_otlp(analysis, Files(tmp_path))
    assert (tmp_path / "otlp_traces.jsonl").read_text() == first
    assert identifier(16, "a", 1) == identifier(16, "a", 1) != identifier(16, "a1")


class Receiver(ThreadingHTTPServer):
    """Takes OTLP over HTTP; `answer` is its status and body."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str | None, dict[str, Any]]] = []
        self.answer: tuple[int, bytes] = (200, b"{}")
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, self.headers.get("x-key"), body))
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_an_endpoint_gets_both_signals_with_headers(
    command: Any, exported_run: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b")
    url = f"http://127.0.0.1:{receiver.server_port}"
    done = command("analysis.export", exported_run, "--to", "otlp", "--endpoint", url)
    assert done.returncode == 0, done.stderr
    assert [(path, key) for path, key, _ in receiver.got] == [("/v1/traces", "a b"), ("/v1/metrics", "a b")]
    assert done.stdout.startswith("72 spans and ")
    assert done.stdout.endswith(f"of 2 rounds to {url}\n")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, b"no such key"), "answered 403 Forbidden: no such key"),
        (
            (200, b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "late"}}'),
            "rejected a part: {'rejectedSpans': '3'}, late",
        ),
    ],
)
def test_what_a_receiver_refuses_is_bad_input(answer: tuple[int, bytes], says: str, receiver: Receiver) -> None:
    receiver.answer = answer
    with pytest.raises(BadInput) as refused:
        Endpoint(f"http://127.0.0.1:{receiver.server_port}", {}).send("traces", {})
    assert says in str(refused.value)


def test_nobody_listens(receiver: Receiver) -> None:
    receiver.server_close()
    with pytest.raises(BadInput, match=r"cannot be reached: .*; is an OTLP/HTTP receiver there?"):
        Endpoint(f"http://127.0.0.1:{receiver.server_port}", {}).send("traces", {})


def test_where_to_must_be_said(command: Any, exported_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    done = command("analysis.export", exported_run, "--to", "otlp")
    assert (done.returncode, done.stderr.startswith("error: --to otlp: give --endpoint")) == (3, True)


def test_headers_of_the_environment() -> None:
    assert headers_of("a=b, api-key = x%3Dy,,broken") == {"a": "b", "api-key": "x=y"}


def test_opentelemetrys_own_messages_read_the_files(analysis: Analysis, tmp_path: Path) -> None:
    """Every key is one of the protocol's: an unknown one is an error of the parser."""
    json_format = pytest.importorskip("google.protobuf.json_format")
    traces = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2").ExportTraceServiceRequest
    figures = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2").ExportMetricsServiceRequest
    export_otlp(analysis, Files(tmp_path))
    spans = json.loads((tmp_path / "otlp_traces.jsonl").read_text(), object_hook=with_base64)
    read = json_format.ParseDict(spans, traces())
    assert len(read.resource_spans[0].scope_spans[0].spans) == 72
    assert {len(span.trace_id) for span in read.resource_spans[0].scope_spans[0].spans} == {16}
    read = json_format.ParseDict(json.loads((tmp_path / "otlp_metrics.jsonl").read_text()), figures())
    points = read.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert [sum(point.bucket_counts) for point in points] == [30, 30]


def with_base64(found: dict[str, Any]) -> dict[str, Any]:
    """OTLP writes ids in hexadecimal digits, where Protobuf's own JSON has base64."""
    ids = ("traceId", "spanId", "parentSpanId")
    return {key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else value for key, value in found.items()}


def test_the_names_are_those_of_the_conventions(analysis: Analysis) -> None:
    attribute_names = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    metric_names = pytest.importorskip("opentelemetry.semconv._incubating.metrics.gen_ai_metrics")
    known = {
        value for names in (attribute_names, metric_names) for name, value in vars(names).items() if name.startswith("GEN_AI_")
    }
    ((*spans,),) = span_batches(analysis)
    used = {each["key"] for span in spans for each in span["attributes"] if each["key"].startswith("gen_ai.")}
    used |= {metric["name"] for metric in metrics(analysis) if metric["name"].startswith("gen_ai.")}
    assert used <= known
