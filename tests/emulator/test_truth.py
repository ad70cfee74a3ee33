"""The truth against what a client on the same clock sees."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
import requests

from locust_kvcache.emulator.deployment import Job
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.truth import Passage, TruthLog
from tests.conftest import ROOT, TIMED, wait_for
from tests.emulator.conftest import Serve
from tests.emulator.raw import ask_raw
from tests.ports import free_port

pytestmark = pytest.mark.xdist_group(TIMED)


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve("--time-scale", "0.3")


def truths(url: str, query: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in requests.get(f"{url}/truth{query}", timeout=5).text.splitlines()]


def words(name: str, count: int = 200) -> list[dict[str, str]]:
    return [{"role": "user", "content": " ".join(f"{name}{number}" for number in range(count))}]


def test_the_order_of_a_request(url: str) -> None:
    before_ns = time.monotonic_ns()
    raw = ask_raw(url, messages=words("order"), headers="x-request-id: mine\r\n")
    after_ns = time.monotonic_ns()
    (truth,) = truths(url, "?id=mine")[1:]
    server = truth["servers"]["single"]
    moments = [before_ns, truth["arrived_ns"], server["queued_ns"], server["prefill_start_ns"], server["prefill_end_ns"]]
    moments += truth["token_sent_ns"]
    assert moments == sorted(moments)
    assert moments[-1] <= min(truth["ended_ns"], after_ns)  # which of the two ends is noted first, the scheduler decides
    assert truth["first_token_due_ns"] == server["prefill_end_ns"]
    assert all(sent >= due for sent, due in zip(truth["token_sent_ns"], truth["token_due_ns"], strict=True))
    assert server["computed_tokens"] + sum(server["cached_tokens"].values()) == truth["prompt_tokens"]
    assert (truth["outcome"], truth["output_tokens"], len(raw.events)) == ("complete", 6, 8)


def test_a_client_sees_tokens_when_they_were_sent(url: str) -> None:
    errors_ms = []
    for number in range(5):
        started_ns = time.monotonic_ns()
        raw = ask_raw(url, messages=words(f"seen{number}", 20), headers=f"x-request-id: seen-{number}\r\n")
        received = zip(raw.at_s, raw.pieces, strict=True)  # a reader that was held up finds two tokens in one piece
        seen_ns = [started_ns + at_s * 1e9 for at_s, piece in received for _ in range(piece.count(b'"content":" '))]
        (truth,) = truths(url, f"?id=seen-{number}")[1:]
        errors_ms += [(seen - sent) / 1e6 for seen, sent in zip(seen_ns, truth["token_sent_ns"], strict=True)]
    assert sorted(errors_ms)[len(errors_ms) // 2] < 2.0


def test_a_hit_says_where_it_came_from(url: str) -> None:
    for expected in (0, 1):
        raw = ask_raw(url, messages=words("hit"), headers="x-truth: 1\r\n")
        truth = raw.events[-1]["truth"]
        cached = truth["servers"]["single"]["cached_tokens"]["gpu"]
        assert cached == expected * ((truth["prompt_tokens"] - 1) // 16 * 16) == truth["reported_cached_tokens"]
    body = {"model": "tiny", "prompt": "not streamed", "max_tokens": 3}
    whole = requests.post(f"{url}/v1/completions", json=body, headers={"x-truth": "1"}, timeout=5).json()
    assert len(whole["truth"]["token_due_ns"]) == 3


def test_a_lie_is_told_apart_from_the_truth(url: str) -> None:
    raw = ask_raw(url, messages=words("lie"), headers="x-truth: 1\r\nx-fault: decoder_reports_all_cached\r\n")
    truth = raw.events[-1]["truth"]
    assert (truth["cached_tokens"], truth["reported_cached_tokens"]) == (0, truth["prompt_tokens"] - 1)
    assert truth["faults"] == {"decoder_reports_all_cached": None}


def test_a_client_that_goes_is_known_and_frees_its_blocks(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    body = json.dumps({"model": "tiny", "prompt": "gone", "max_tokens": 5000, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-request-id: gone\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + body)
        assert connection.recv(100)
    gone = wait_for(lambda: [one for one in truths(url, "?id=gone")[1:] if one["outcome"] == "client_gone"], what="the end")
    assert len(gone[0]["token_sent_ns"]) < 5000
    wait_for(lambda: "vllm:num_requests_running{" in (page := requests.get(f"{url}/metrics", timeout=5).text)
             and 'num_requests_running{engine="0",model_name="tiny"} 0.0' in page, what="an idle server")  # fmt: skip


def test_an_ended_request_keeps_its_facts_but_not_its_prompt() -> None:
    job = Job(list(range(1000)), 3, lambda job, due_s: None)
    passage = Passage("id", 1, job, {}, True)
    passage.close()
    assert passage.job is None
    assert passage.as_dict()["prompt_tokens"] == 1000


def test_the_list_is_bounded_and_can_be_emptied(url: str) -> None:
    log = TruthLog(kept=3)
    for _ in range(5):
        log.add(None)  # type: ignore[arg-type]
    assert (len(log.passages), log.dropped) == (3, 2)
    ask_raw(url)
    assert len(truths(url, "?last=1")) == 2
    assert requests.delete(f"{url}/truth", timeout=5).ok
    assert [one["kind"] for one in truths(url)] == ["server"]


def test_the_emulator_says_how_late_it_was() -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "locust_kvcache.emulator",
        "--port",
        str(port),
        "--profile",
        "cpu_tiny",
        "--time-scale",
        "0.1",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok, what="the emulator")
    ask_raw(f"http://127.0.0.1:{port}")
    late = truths(f"http://127.0.0.1:{port}")[0]
    assert late["chunks"] == 6
    assert 0 <= late["late_us"]["p50"] <= late["late_us"]["p99"] <= late["late_us"]["max"]
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert "6 tokens sent; later than due: p50" in said


def test_events_run_in_the_order_of_their_time_on_any_clock() -> None:
    simulation, ran = Simulation(), []
    for due_s in (3.0, 1.0, 2.0):
        simulation.at(due_s, lambda name: ran.append((simulation.now_s, name)), f"at {due_s}")
    simulation.at(1.0, lambda _: simulation.at(0.5, lambda name: ran.append((simulation.now_s, name)), "asked late"))
    simulation.run_all(limit_s=2.5)
    assert ran == [(1.0, "at 1.0"), (1.0, "asked late"), (2.0, "at 2.0")]


def test_an_overloaded_emulator_still_listens() -> None:
    simulation = Simulation()
    simulation.at(0.0, lambda _: simulation.at(simulation.now_s, again))

    def again(_: object) -> None:
        simulation.at(simulation.now_s, again)

    simulation.run_until(1.0, most=50)
    assert simulation.now_s == 0.0
    assert simulation.next_due_s() == 0.0
