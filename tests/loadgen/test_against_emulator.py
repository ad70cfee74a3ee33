"""The client against the emulator's faults, one by one: verdict, tokens and times, checked against the emulator's own truth."""

from __future__ import annotations

import locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from locust_kvcache.contract.stream_times import stream_timing
from locust_kvcache.loadgen.client.connection import Connection
from locust_kvcache.loadgen.client.stream import StreamOutcome, stream_request
from locust_kvcache.loadgen.client.target import Target
from tests.conftest import TIMED, wait_for
from tests.ports import free_port
from tests.warm.servers import start_server

pytestmark = pytest.mark.xdist_group(TIMED)

TOKENS = 6


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    process = start_server("locust_kvcache.emulator", "--port", str(port), "--profile", "cpu_tiny", "--time-scale", "0.5")
    address = f"http://127.0.0.1:{port}"
    wait_for(lambda: urllib.request.urlopen(f"{address}/health", timeout=1).status == 200, what="the emulator")
    yield address
    process.terminate()
    assert process.wait(60) in (0, -signal.SIGTERM)


def ask(url: str, fault: str = "", timeout_s: float = 5.0, idle_timeout_s: float | None = None) -> StreamOutcome:
    body: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": f"the report of {fault} and more"}]}
    body |= {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": TOKENS, "ignore_eos": True}
    encoded = json.dumps(body).encode()
    target = Target.from_url(url)
    head = target.request_head("/v1/chat/completions", len(encoded), None)
    if fault:
        head = head[:-2] + f"x-fault: {fault}\r\n\r\n".encode()
    outcome = StreamOutcome()
    connection = Connection(target, idle_timeout_s)
    stream_request(connection, head + encoded, timeout_s, outcome)
    connection.close()
    return outcome


def truth(url: str) -> dict[str, Any]:
    """What the emulator says of its last request."""
    with urllib.request.urlopen(f"{url}/truth", timeout=5) as answer:
        lines = [json.loads(line) for line in answer.read().splitlines()]
    return [line for line in lines if line.get("kind") == "request"][-1]


@dataclass(frozen=True)
class Expect:
    status: str = "ok"
    chunks: int | None = TOKENS
    says: str = ""


FAULTS = {
    "": Expect(),
    "usage_without_details": Expect(),
    "no_usage": Expect(),
    "usage_on_finish_chunk": Expect(),
    "no_done": Expect(),
    "no_finish_reason": Expect(),  # [DONE] and a count of output tokens stand for it
    "no_finish_reason,no_usage": Expect("cut", says="without a finish_reason"),
    "no_finish_reason,no_done": Expect("cut", says="without a finish_reason"),
    "cut=2": Expect("cut", 2, "before the response was complete"),
    "error_in_stream=2": Expect("stream_error", 2),
    "status=429": Expect("http_error", 0, "HTTP 429"),
    "status=500": Expect("http_error", 0, "HTTP 500"),
    "status=503": Expect("http_error", 0, "HTTP 503"),
    "empty_stream": Expect("no_output", 0, "without any generated output"),
    "slow_headers=0.3": Expect(),
    "reset_connection=0": Expect("reset", 0),
    "reset_connection=2": Expect("reset", 2),
    "crlf": Expect(),
    "no_chunked": Expect(),
    "tokens_per_chunk=4": Expect(chunks=3),
    "no_role_chunk": Expect(),
    "early_role_chunk": Expect(),
    "null_content": Expect(),
    "reasoning=2": Expect(),
    "reasoning_content=2": Expect(),
    "keep_alive_comments=0.02": Expect(),
    "tiny_segments=7": Expect(),
    "sse_as_json": Expect(),
    "wrong_model": Expect(),
    "malformed_json=1": Expect("malformed", says="not JSON"),
    "decoder_reports_all_cached": Expect(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_verdict(url: str, fault: str) -> None:
    expected, outcome = FAULTS[fault], ask(url, fault)
    assert outcome.status == expected.status, outcome.error
    assert expected.says in (outcome.error or "")
    if fault.startswith("malformed"):
        return
    assert len(outcome.chunks) == expected.chunks
    if expected.status == "ok":
        assert outcome.reader.output_tokens == (None if fault == "no_usage" else TOKENS)
        details = fault not in ("no_usage", "usage_without_details")
        assert (outcome.reader.cached_tokens is not None) == details  # missing is missing, not 0


def test_a_stall_is_a_timeout_of_either_kind(url: str) -> None:
    whole, idle = ask(url, "stall=2", timeout_s=0.8), ask(url, "stall=2", idle_timeout_s=0.5)
    assert (whole.status, idle.status) == ("timeout", "timeout")
    assert "no complete response within 0.8 s" in (whole.error or "")
    assert "nothing received for 0.5 s" in (idle.error or "")
    assert len(whole.chunks) == len(idle.chunks) == 2


@pytest.mark.parametrize("fault", ["", "early_role_chunk", "keep_alive_comments=0.02", "crlf", "reasoning=2", "slow_headers=0.1"])
def test_times_are_the_truth(url: str, fault: str) -> None:
    """Stamps are never before the truth and, the best of five, under 2 ms behind it: TTFT, its visible variant, and every token."""
    errors_ms = []
    for _ in range(5):
        outcome = ask(url, fault)
        sent_ns = truth(url)["token_sent_ns"]
        late = [chunk.received_at_s * 1e3 - sent / 1e6 for chunk, sent in zip(outcome.chunks, sent_ns, strict=True)]
        assert min(late) > -0.1
        errors_ms.append(max(late))
        timing = stream_timing(outcome.response.sent_at_s, outcome.response.first_byte_at_s, None, outcome.chunks, TOKENS)
        visible = 2 if fault.startswith("reasoning") else 0
        assert timing.ttft_ms == pytest.approx((outcome.chunks[0].received_at_s - outcome.response.sent_at_s) * 1000)
        assert timing.ttfvt_ms == pytest.approx((outcome.chunks[visible].received_at_s - outcome.response.sent_at_s) * 1000)
    assert min(errors_ms) < 2.0


def test_no_request_is_sent_twice_whatever_happens(url: str) -> None:
    with urllib.request.urlopen(f"{url}/truth", timeout=5) as answer:
        before = answer.read().count(b'"kind"')
    for fault in ("reset_connection=0", "cut=2", "empty_stream", ""):
        ask(url, fault)
    with urllib.request.urlopen(f"{url}/truth", timeout=5) as answer:
        assert answer.read().count(b'"kind"') - before == 4
