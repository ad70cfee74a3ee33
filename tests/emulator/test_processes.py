"""Prefiller, decoder, store and proxy as four processes, as on a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from benchmarks import routers
from tests.conftest import ROOT, wait_for
from tests.emulator.conftest import routers_of
from tests.emulator.raw import Raw, ask_raw
from tests.ports import free_port


@dataclass
class Cluster:
    prefiller: str
    decoder: str
    store: str
    proxy: str
    bare: str
    sequential: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    processes: list[subprocess.Popen[bytes]] = []

    def start(role: str, *args: str) -> str:
        port = free_port()
        command = [sys.executable, "-m", "locust_kvcache.emulator", "--port", str(port), "--role", role, "--profile", "cpu_tiny"]
        processes.append(
            subprocess.Popen([*command, "--time-scale", "0.3", *args], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
        )
        return f"http://127.0.0.1:{port}"

    store = start("store")
    parts = [start(role, "--store", store, "--fault", "slow_put=30") for role in ("prefiller", "decoder")]
    between = ["--prefiller", parts[0], "--decoder", parts[1]]
    proxy, bare = start("proxy", *between), start("proxy", *between, "--bare-proxy")
    sequential = start("proxy", *between, "--proxy", "sequential")
    for url, path in (
        (store, "/health"),
        (parts[0], "/health"),
        (parts[1], "/health"),
        (proxy, "/health"),
        (bare, "/healthcheck"),
    ):
        wait_for(lambda url=url, path=path: requests.get(url + path, timeout=1).ok, what=url)
    wait_for(lambda: requests.get(f"{sequential}/health", timeout=1).ok, what="the proxy")
    yield Cluster(*parts, store, proxy, bare, sequential)
    for process in processes:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)


def ask(url: str, name: str) -> Raw:
    text = " ".join(f"{name}{number}" for number in range(1200))
    return ask_raw(url, timeout_s=20, messages=[{"role": "user", "content": text}], headers=f"x-request-id: {name}\r\n")


def sources(url: str, name: str) -> dict[str, int]:
    lines = [json.loads(line) for line in requests.get(f"{url}/truth?id={name}", timeout=5).text.splitlines()[1:]]
    (server,) = lines[-1]["servers"].values()
    return {**server["cached_tokens"], "computed": server["computed_tokens"]}


def test_the_decoder_takes_from_the_store_what_the_prefiller_put(cluster: Cluster) -> None:
    raw = ask(cluster.proxy, "cold")
    usage = raw.events[-1]["usage"]
    assert (raw.end, usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == ("complete", 6, 0)
    prompt = usage["prompt_tokens"]
    assert sources(cluster.prefiller, "cold") == {"gpu": 0, "computed": prompt}
    assert sources(cluster.decoder, "cold") == {"gpu": 0, "store": prompt // 256 * 256, "computed": prompt % 256}
    hit = ask(cluster.proxy, "cold").events[-1]["usage"]
    assert hit["prompt_tokens_details"]["cached_tokens"] == (prompt - 1) // 16 * 16
    keys = requests.get(f"{cluster.store}/metrics", timeout=5).text
    assert f"master_key_count {prompt // 256}\n" in keys


def test_a_sequential_proxy_is_faster_than_a_slow_put_and_the_decoder_recomputes(cluster: Cluster) -> None:
    raw = ask(cluster.sequential, "quick")
    assert sources(cluster.decoder, "quick") == {"gpu": 0, "computed": raw.events[-1]["usage"]["prompt_tokens"]}


def test_a_store_reset_reaches_the_store(cluster: Cluster) -> None:
    ask(cluster.proxy, "reset")
    for url in (cluster.prefiller, cluster.decoder):
        assert requests.post(f"{url}/reset_prefix_cache?reset_external=true", timeout=5).json()["success"]
    wait_for(lambda: "master_key_count 0\n" in requests.get(f"{cluster.store}/metrics", timeout=5).text, what="an empty store")
    assert ask(cluster.proxy, "reset").events[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_bare_proxies_lack_what_the_real_examples_lack(cluster: Cluster) -> None:
    assert requests.get(f"{cluster.proxy}/v1/models", timeout=5).json()["data"][0]["id"] == "tiny"
    assert [requests.get(cluster.bare + path, timeout=5).status_code for path in ("/v1/models", "/metrics", "/health")] == [
        404
    ] * 3
    raw = ask(cluster.bare, "bare")
    assert "content-type: application/json" in raw.head
    assert raw.tokens
    assert requests.get(f"{cluster.decoder}/truth?id=bare", timeout=5).text.count("\n") == 1  # its x-request-id was dropped


@pytest.mark.parametrize("router", routers.LAUNCH)
def test_real_routers_send_to_prefiller_and_decoder(cluster: Cluster, router: str, tmp_path: Path) -> None:
    """vllm-router: one token from the prefiller, then the decoder. sglang-router: the whole answer from both at once."""
    venv = routers_of(router)
    port, metrics_port = free_port(), free_port()
    mode = {"vllm-router": "--vllm-pd-disaggregation", "sglang-router": "--pd-disaggregation"}[router]
    command = routers.router_command(venv, router, "round_robin", port, metrics_port, [])[:-1]  # no --worker-urls
    command += [mode, "--prefill", cluster.prefiller, "--decode", cluster.decoder]
    url = f"http://127.0.0.1:{port}"
    with routers.process(command, tmp_path / "router.log", f"{url}/workers", workers=2):
        before = [len(requests.get(f"{one}/truth", timeout=5).text.splitlines()) for one in (cluster.prefiller, cluster.decoder)]
        raw = ask(url, f"pd-{router}")
        assert raw.tokens.startswith(" the report says")
        after = [requests.get(f"{one}/truth", timeout=5).text.splitlines() for one in (cluster.prefiller, cluster.decoder)]
    assert [len(lines) - count for lines, count in zip(after, before, strict=True)] == [1, 1]
    wanted = [json.loads(lines[-1])["output_tokens"] for lines in after]
    assert wanted == {"vllm-router": [1, 6], "sglang-router": [6, 6]}[router]


def test_errors_of_the_servers_come_through(cluster: Cluster) -> None:
    wrong = {"model": "other", "messages": [{"role": "user", "content": "x"}]}
    assert requests.post(f"{cluster.proxy}/v1/chat/completions", json=wrong, timeout=5).status_code == 404
    cut = ask_raw(cluster.proxy, headers="x-fault: cut=2\r\n", timeout_s=10)
    assert cut.tokens == " the report"
    assert b"[DONE]" not in cut.body
