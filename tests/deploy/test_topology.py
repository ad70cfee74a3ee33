"""The emulator profile's commands, and the proxy of the pd profile, started as the compose file writes them, on ports of our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from locust_kvcache.analysis.server_configs.compose_rules import command_words
from tests.conftest import ROOT, wait_for
from tests.deploy.compose import services
from tests.deploy.test_real_store import STORE_PYTHON, importable
from tests.ports import free_port

PROMPT = "word " * 3000
NAMES = ("store", "prefiller", "decoder", "proxy", "server")


class Network:
    """Service names and container ports of the compose file -> this host's ports."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    def port(self, container_port: str) -> int:
        return self._ports.setdefault(container_port, free_port())

    def url(self, container_port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port(container_port)}{path}"

    def here(self, words: list[str]) -> list[str]:
        """The words of a command with every address replaced by ours."""
        replaced = []
        for flag, word in zip(["", *words], words, strict=False):
            if flag.endswith("port"):
                word = str(self.port(word))
            elif flag in ("--host", "--prefiller-host", "--decoder-host"):
                word = "127.0.0.1"
            replaced.append(re.sub(r"http://[\w-]+:(\d+)", lambda match: self.url(match[1]), word))
        return replaced


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """All five emulators of the profile, ten times faster than the file's default."""
    network, started = Network(), []
    for name, service in services("emulator", EMULATOR_TIME_SCALE="0.01").items():
        if name.startswith("emulator-"):
            command = [sys.executable, "-m", "locust_kvcache.emulator", *network.here(command_words(service))]
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL))
    try:
        for port, path in (
            ("9004", "/metrics"),
            ("8100", "/health"),
            ("8200", "/health"),
            ("9000", "/healthcheck"),
            ("8000", "/health"),
        ):
            wait_for(lambda port=port, path=path: requests.get(network.url(port, path), timeout=2).ok, what=f"emulator on {port}")
        yield network
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)


def cached_tokens(base: str, prompt: str) -> int:
    """What the usage of one completion says was cached."""
    model = "Qwen2.5-72B-Instruct"
    body = {"model": model, "prompt": prompt, "max_tokens": 4, "stream": False}
    answer = requests.post(f"{base}/v1/completions", json=body, timeout=60)
    assert answer.ok, answer.text
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def stored_keys(network: Network) -> float:
    page = requests.get(network.url("9004", "/metrics"), timeout=5).text
    return float(re.findall(r"^master_key_count (\S+)", page, re.M)[0])


def test_the_emulators_of_the_profile_are_one_deployment(network: Network) -> None:
    assert cached_tokens(network.url("9000"), "a" + PROMPT) == 0
    assert stored_keys(network) > 0
    assert cached_tokens(network.url("9000"), "a" + PROMPT) >= 2560  # ten chunks of 256
    assert cached_tokens(network.url("8000"), "a" + PROMPT) == 0  # the single server is another deployment


def test_the_deployment_files_reset_empties_the_shared_store(network: Network) -> None:
    cached_tokens(network.url("9000"), "b" + PROMPT)
    answer = requests.post(network.url("8100", "/reset_prefix_cache?reset_external=true"), timeout=10)
    assert answer.json()["success"] is True
    assert stored_keys(network) == 0
    assert cached_tokens(network.url("9000"), "b" + PROMPT) == 0


def test_the_pd_profiles_proxy_takes_these_flags_and_passes_requests_on(network: Network) -> None:
    """Mooncake's own script (vLLM's toy proxy) in front of the emulated prefiller and decoder."""
    if not importable("mooncake.vllm_v1_proxy_server", "uvicorn"):
        pytest.skip(f"{STORE_PYTHON} has no mooncake wheel with fastapi, httpx and uvicorn; name one that has in STORE_PYTHON")
    ours = Network()
    ours._ports = {**network._ports, "9000": free_port()}
    words = ours.here(command_words(services("pd")["vllm-proxy"]))
    with subprocess.Popen(
        [STORE_PYTHON, *words[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    ) as proxy:
        try:
            wait_for(lambda: requests.get(ours.url("9000", "/healthcheck"), timeout=2).ok, what="the proxy's /healthcheck")
            body = {"model": "Qwen2.5-72B-Instruct", "prompt": "c" + PROMPT, "max_tokens": 4, "stream": True}
            answer = requests.post(ours.url("9000", "/v1/completions"), json=body, timeout=60)
            assert answer.text.rstrip().endswith("data: [DONE]")
            assert requests.get(ours.url("9000", "/v1/models"), timeout=5).status_code == 404  # as docs/deploy.md says
        finally:
            proxy.terminate()
