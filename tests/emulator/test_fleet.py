"""A fleet as a process: the front's counts, its engines' pages and the truth say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, wait_for
from tests.emulator.conftest import Serve
from tests.emulator.raw import ask_raw
from tests.ports import free_port


@pytest.fixture(scope="module")
def fleet(serve: Serve) -> Any:
    started: dict[str, str] = {}

    def start(routing: str, *args: str) -> str:
        if routing not in started:
            ports = ",".join(str(free_port()) for _ in range(4))
            options = ("--role", "fleet", "--engines", "4", "--engine-ports", ports, "--routing", routing, "--time-scale", "0.05")
            started[routing] = serve(*options, *args)
        requests.post(f"{started[routing]}/reset_prefix_cache", timeout=5)
        requests.delete(f"{started[routing]}/truth", timeout=5)
        return started[routing]

    return start


def document(name: str, count: int = 200) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def ask(url: str, text: str, **headers: str) -> tuple[str, int]:
    """(engine, cached tokens)"""
    body = {"model": "tiny", "prompt": text, "max_tokens": 2}
    answer = requests.post(f"{url}/v1/completions", json=body, headers=headers, timeout=20)
    return answer.headers["x-engine"], answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]


def truth(url: str, query: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in requests.get(f"{url}/truth{query}", timeout=5).text.splitlines()]


def value(url: str, start: str) -> float:
    page = requests.get(f"{url}/metrics", timeout=5).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(start))


def test_round_robin_pages_and_truth_agree(fleet: Any) -> None:
    url = fleet("round_robin")
    urls = requests.get(f"{url}/list_workers", timeout=5).json()["urls"]
    before = [value(one, "vllm:request_success_total") for one in urls]
    answers = [ask(url, document("same")) for _ in range(8)]
    prompt = truth(url)[1]["prompt_tokens"]
    whole = (prompt - 1) // 16 * 16
    assert answers == [(f"engine-{number % 4 + 1}", whole * (number >= 4)) for number in range(8)]
    summary = truth(url)[0]
    assert summary["tokens"] == {
        "prompt": 8 * prompt, "reusable": 7 * whole, "fits": 7 * whole, "held": 7 * whole, "captured": 4 * whole, "delivered": 4 * whole
    }  # fmt: skip
    assert [value(one, "vllm:request_success_total") for one in urls] == [count + 2 for count in before]
    assert sum(value(one, "vllm:prefix_cache_hits_total") for one in urls) == 4 * whole
    for one in urls:
        assert value(url, f'vllm_router_processed_requests_total{{worker="{one}"}}') == value(one, "vllm:request_success_total")
    assert value(url, "vllm_router_requests_total{") == 8
    assert value(url, "vllm_router_running_requests{") == 0


def test_session_without_its_header_uses_one_engine(fleet: Any) -> None:
    url = fleet("session")
    assert len({ask(url, document(f"d{number}", 20))[0] for number in range(12)}) == 1
    by_session = [ask(url, document("x", 20), **{"x-session-id": f"user-{number % 12}"})[0] for number in range(24)]
    assert by_session[:12] == by_session[12:]
    assert len(set(by_session)) > 1
    routed = Counter({name: one["requests_routed"] for name, one in truth(url)[0]["engines"].items()})
    assert routed.total() == 36


def test_prefix_keeps_a_document_on_one_engine(fleet: Any) -> None:
    url = fleet("prefix")
    asked = [(name, ask(url, f"{document(name)} question {number}")) for number in range(3) for name in "abcd"]
    engines = {name: {engine for other, (engine, _) in asked if other == name} for name in "abcd"}
    assert all(len(one) == 1 for one in engines.values())
    assert len(set.union(*engines.values())) == 4
    summary, *lines = truth(url)
    tokens = summary["tokens"]
    assert tokens["reusable"] == tokens["captured"] == tokens["delivered"] == sum(cached for _, (_, cached) in asked) > 0
    assert Counter(line["engine"] for line in lines) == Counter(engine for _, (engine, _) in asked)


def test_requests_to_an_engines_own_port_are_in_the_truth(fleet: Any) -> None:
    url = fleet("round_robin")
    engine = requests.get(f"{url}/workers", timeout=5).json()["workers"][2]["url"]
    body = {"model": "tiny", "prompt": document("direct"), "max_tokens": 1}
    answer = requests.post(f"{engine}/v1/completions", json=body, timeout=20)
    assert "x-engine" not in answer.headers
    summary, line = truth(url)
    assert (line["engine"], line["reuse"]["captured"]) == ("engine-3", 0)
    assert summary["engines"]["engine-3"]["tokens"]["requests"] == 1


def test_the_front_says_that_it_is_a_fleet(fleet: Any) -> None:
    url = fleet("round_robin")
    assert "fleet of 4, routing round_robin" in requests.get(f"{url}/version", timeout=5).json()["version"]
    assert requests.get(f"{url}/load", timeout=5).json() == {"server_load": 0}
    assert requests.get(f"{url}/v1/models", timeout=5).json()["data"][0]["id"] == "tiny"


def test_where_each_block_lies(fleet: Any) -> None:
    url = fleet("round_robin")
    names = [ask(url, document(f"doc{number}", 40 + 40 * number))[0] for number in range(2)]
    lines = truth(url, "?last=0&blocks=1")
    held = {line["engine"]: len(line["gpu"]) for line in lines if line["kind"] == "blocks"}
    prompts = {line["engine"]: line["prompt_tokens"] for line in truth(url)[1:]}
    assert held == {
        name: (prompts[name] + 1) // 16 if name in names else 0 for name in held
    }  # one token of the answer is known too
    assert len(held) == 4


def test_a_reset_reaches_every_engine(fleet: Any) -> None:
    url = fleet("round_robin")
    for _ in range(4):
        ask(url, document("reset"))
    assert requests.post(f"{url}/reset_prefix_cache", timeout=5).json() == {"success": True}
    assert all(ask(url, document("reset"))[1] == 0 for _ in range(4))


@pytest.fixture
def busy(fleet: Any) -> Iterator[str]:
    """Least loaded, at most two open: two streams with an end far away are under way."""
    url = fleet("least_loaded", "--max-open", "2")
    body = {"model": "tiny", "prompt": "open", "max_tokens": 20_000, "stream": True}
    streams = [requests.post(f"{url}/v1/completions", json=body, stream=True, timeout=20) for _ in range(2)]
    yield url
    for stream in streams:
        stream.close()


def test_beyond_max_open_requests_are_shed(busy: str) -> None:
    body = {"model": "tiny", "prompt": "more", "max_tokens": 1}
    answer = requests.post(f"{busy}/v1/completions", json=body, timeout=5)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "x-engine" not in answer.headers
    summary = truth(busy, "?last=0")[0]
    assert summary["requests_shed"] == value(busy, 'vllm_router_request_errors_total{error_type="shed"') == 1
    assert sorted(one["requests_open"] for one in summary["engines"].values()) == [0, 0, 1, 1]


def test_errors_are_counted_and_end_a_request(fleet: Any) -> None:
    url = fleet("round_robin")
    wrong = requests.post(f"{url}/v1/completions", json={"model": "other", "prompt": "x"}, timeout=5)
    assert wrong.status_code == 404
    assert ask_raw(url, headers="x-fault: cut=1\r\n").end == "closed"
    assert value(url, 'vllm_router_request_errors_total{error_type="http_404"') == 1
    wait_for(lambda: value(url, 'vllm_router_request_errors_total{error_type="connection"') == 1, what="the cut stream")
    assert value(url, "vllm_router_running_requests{") == 0


def test_many_at_once_keep_the_chain(fleet: Any) -> None:
    url = fleet("random")
    texts = [f"{document('common', 100)} {document(str(number % 5), 100)}" for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda text: ask(url, text), texts))
    summary, *lines = truth(url)
    for line in lines:
        chain = [line["reuse"][name] for name in ("delivered", "captured", "held", "reusable")]
        assert chain == sorted(chain)
        assert line["reuse"]["delivered"] == line["cached_tokens"]
    assert summary["tokens"]["delivered"] == sum(line["cached_tokens"] for line in lines)
    assert summary["tokens"]["prompt"] == sum(line["prompt_tokens"] for line in lines)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--engines", "0"], "--engines is 0; expected at least 1"),
        (["--engines", "2", "--engine-ports", "1,2,3"], "--engine-ports is '1,2,3'; expected 2 port numbers"),
        (["--store", "http://127.0.0.1:1"], "--store and --mooncake-port are not for role fleet"),
        (["--max-open", "0"], "--max-open is 0"),
    ],
)
def test_wrong_options_are_named(args: list[str], said: str) -> None:
    command = [sys.executable, "-m", "locust_kvcache.emulator", "--role", "fleet", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
