"""docker-compose.yml: the services, ports and limits it promises, no password, nothing beyond localhost, and its profiles apart."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from locust_kvcache.analysis.server_configs.compose_rules import command_words
from locust_kvcache.contract.deployment import load_deployment
from tests.deploy.compose import DOCKER_COMPOSE, FILE, ROOT, load, services

ALWAYS = {"locust-master", "locust-worker", "prometheus", "grafana"}
PROFILES = {
    "pd": ALWAYS | {"mooncake-master", "vllm-prefiller", "vllm-decoder", "vllm-proxy"},
    "non-disagg": ALWAYS | {"mooncake-master", "vllm-server"},
    "emulator": ALWAYS | {f"emulator-{name}" for name in ("store", "prefiller", "decoder", "proxy", "server")},
    "fleet": ALWAYS | {"emulator-fleet"},
    "fleet-vllm": ALWAYS | {"vllm-engine-1", "vllm-engine-2", "vllm-router"},
    "gpu-metrics": ALWAYS | {"dcgm-exporter"},
}
PORTS = {
    "mooncake-master": {50052, 8080, 9004},
    "vllm-prefiller": {8100},
    "vllm-decoder": {8200},
    "vllm-proxy": {9000},
    "vllm-server": {8000},
    "emulator-fleet": {9100, 9101, 9102, 9103, 9104},
    "vllm-engine-1": {8101},
    "vllm-engine-2": {8102},
    "vllm-router": {9100, 29000},
    "prometheus": {9090},
    "grafana": {3000},
}
ENGINES = ("vllm-prefiller", "vllm-decoder", "vllm-server")


def ports(service: dict[str, Any]) -> list[list[str]]:
    return [str(entry).split(":") for entry in service.get("ports", [])]


def option(service: dict[str, Any], name: str) -> str:
    words = command_words(service)
    return words[words.index(name) + 1]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_starts_these_services_and_all_they_wait_for(profile: str) -> None:
    started = services(profile)
    assert set(started) == PROFILES[profile]
    for service in started.values():
        assert set(service.get("depends_on", [])) <= set(started)


def test_without_a_profile_compose_starts_pd() -> None:
    assert "COMPOSE_PROFILES=pd" in (ROOT / ".env").read_text().splitlines()


def test_ports_are_the_documented_ones_and_listen_on_localhost() -> None:
    every = load(GRAFANA_PASSWORD="x")["services"]
    for name, expected in PORTS.items():
        assert {int(port[-1]) for port in ports(every[name])} == expected
    assert {host for service in every.values() for host, *_ in ports(service)} == {"127.0.0.1"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_two_services_of_a_profile_publish_the_same_port(profile: str) -> None:
    published = [port[1] for service in services(profile).values() for port in ports(service)]
    assert len(published) == len(set(published))


def test_engines_have_gpus_shared_memory_and_locked_memory() -> None:
    every = load(GRAFANA_PASSWORD="x")["services"]
    for name in ENGINES:
        engine = every[name]
        (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert "gpu" in device["capabilities"]
        assert engine["shm_size"] == "16gb"
        assert engine["ipc"] == "private"
        assert engine["ulimits"]["memlock"] == -1
        assert len(engine["environment"]["CUDA_VISIBLE_DEVICES"].split(",")) == int(option(engine, "--tensor-parallel-size"))


def test_prefiller_and_decoder_share_no_gpu() -> None:
    small = dict(line.split("=") for line in (ROOT / "configs/compose-8-gpus.env").read_text().splitlines() if line[0] != "#")
    for variables, gpus in (({}, 16), (small, 8)):
        pair = [services("pd", **variables)[name]["environment"]["CUDA_VISIBLE_DEVICES"].split(",") for name in ENGINES[:2]]
        assert sorted(map(int, pair[0] + pair[1])) == list(range(gpus))


def test_every_service_says_whether_it_is_well_and_is_pinned() -> None:
    for name, service in load(GRAFANA_PASSWORD="x")["services"].items():
        locust = name.startswith("locust-")
        assert locust or "healthcheck" in service, name
        assert re.search(r":v?\d|:local$", service["image"]), name
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


@pytest.mark.slow
def test_bare_options_are_those_of_a_run_and_everything_else_is_a_command(tmp_path: Path) -> None:
    """As operators of Locust start an image, and as the manifests here do."""
    (tmp_path / "locust-kvcache").write_text("#!/bin/sh\necho ours $# $@\n")
    (tmp_path / "locust-kvcache").chmod(0o755)
    (entry,) = re.findall(r'^ENTRYPOINT (\["sh".*)$', (ROOT / "Dockerfile").read_text(), re.M)

    def started(*words: str) -> str:
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run([*json.loads(entry), *words], env=environment, capture_output=True, text=True, check=True).stdout

    assert started("--master", "--slo", "ttft_ms=1 2") == "ours 4 run --master --slo ttft_ms=1 2\n"
    assert started("locust-kvcache", "run", "--worker") == "ours 2 run --worker\n"
    assert started("echo", "a b") == "a b\n"


def test_passwords_come_from_the_environment_only() -> None:
    with pytest.raises(KeyError, match="GRAFANA_PASSWORD"):
        load()
    secrets = re.findall(r"(?im)^\s*-?\s*(\w*(?:password|token|key))\s*[:=]\s*(\S+)", FILE.read_text())
    assert secrets
    assert all(value.startswith("${") for name, value in secrets)
    assert re.findall(r"(?i)(password|secret|token|key)\w*=.", (ROOT / ".env").read_text()) == []


def test_the_files_that_are_mounted_exist_and_the_engines_read_their_own() -> None:
    every = load(GRAFANA_PASSWORD="x")["services"]
    for name, file in zip(ENGINES, ("prefiller", "decoder", "server"), strict=True):
        path = every[name]["environment"]["LMCACHE_CONFIG_FILE"]
        assert path == f"/configs/mooncake-{file}-config.yaml"
        extra = yaml.safe_load((ROOT / path[1:]).read_text())["extra_config"]
        assert extra["local_hostname"] == name
        assert extra["mooncake_master_server_addr"] == "mooncake-master:50052"


@pytest.mark.parametrize(
    ("file", "profile"),
    [
        ("compose_pd", "pd"),
        ("compose_non_disagg", "non-disagg"),
        ("compose_emulator_pd", "emulator"),
        ("compose_fleet", "fleet"),
        ("compose_fleet_vllm", "fleet-vllm"),
    ],
)
def test_the_deployment_files_of_the_network_name_services_and_ports_that_listen(file: str, profile: str) -> None:
    deployment = load_deployment(ROOT / f"configs/{file}.yaml")
    listening = set()
    for name, service in services(profile).items():
        aliases = service.get("networks", {}).get("default", {}).get("aliases", [])
        listening |= {f"{host}:{port[-1]}" for host in (name, *aliases) for port in ports(service)}
    urls = [deployment.endpoint, *(url for _, url in deployment.metrics), *(action.target for action in deployment.caches)]
    assert {re.sub(r"^http://|/metrics$", "", url) for url in urls} <= listening


@pytest.mark.skipif(
    DOCKER_COMPOSE is None, reason="docker-compose is not installed (Debian: docker-compose, 1.29, needs no daemon)"
)
@pytest.mark.parametrize("profile", PROFILES)
def test_docker_compose_accepts_the_file(profile: str) -> None:
    command = [str(DOCKER_COMPOSE), "--profile", profile, "config"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "GRAFANA_PASSWORD": "x"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(load(GRAFANA_PASSWORD="x")["services"])
    refused = {key: value for key, value in os.environ.items() if key != "GRAFANA_PASSWORD"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=refused, check=False)
    assert done.returncode != 0
    assert "set GRAFANA_PASSWORD" in done.stderr


@pytest.mark.parametrize(("given", "limit"), [({}, "65536"), ({"LOCUST_NOFILE": "4096"}, "4096")])
def test_open_files_of_the_load_can_be_fewer_where_the_daemon_may_not_give_more(given: dict[str, str], limit: str) -> None:
    every = services("emulator", **given)
    assert [str(every[name]["ulimits"]["nofile"]) for name in ("locust-master", "locust-worker")] == [limit, limit]
