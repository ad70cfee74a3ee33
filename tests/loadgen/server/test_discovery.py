"""The engines by a router's own list: as both real routers answer, taken where the file has none, compared where it has some."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.contract.deployment import Deployment
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.fleet import Engine
from locust_kvcache.loadgen.server.discovery import changed_workers, discovered, read_workers
from tests.conftest import LocustProcesses
from tests.monitoring.servers import emulator
from tests.ports import free_port
from tests.scripted_server import Scripted, served

VLLM_PD = {  # vllm-router 0.1.17 --vllm-pd-disaggregation, and a data-parallel engine
    "workers": [
        {"url": "http://b:2", "worker_type": "decode", "is_healthy": True},
        {"url": "http://a:1", "worker_type": "prefill", "is_healthy": False},
        {"url": "http://c:3@0", "worker_type": "regular", "is_healthy": True},
        {"url": "http://c:3@1", "worker_type": "regular", "is_healthy": True},
    ]
}


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (VLLM_PD, [("http://a:1", "prefiller", False), ("http://b:2", "decoder", True), ("http://c:3", "server", True)]),
        ({"urls": ["http://b:2", "http://a:1"]}, [("http://a:1", "server", True), ("http://b:2", "server", True)]),
        ({"workers": [{"url": 3}, "x", {}]}, []),
        ([], []),
        ({"urls": None}, []),
    ],
)
def test_the_lists_of_the_routers(page: Any, found: list[tuple[str, str, bool]]) -> None:
    assert [(worker.url, worker.role, worker.healthy) for worker in read_workers(page)] == found


class Router(Scripted):
    page: ClassVar[Any] = {"urls": ["http://127.0.0.1:8101", "http://127.0.0.1:8102"]}

    def do_GET(self) -> None:
        if self.path == "/list_workers" and self.page is not None:
            self.send_json(self.page)
        else:
            self.send_json({"error": "none"}, 404)


class Silent(Router):
    page = None


def at(address: str, *ports: int) -> Deployment:
    engines = tuple(Engine(f"e{port}", "server", f"http://localhost:{port}/metrics") for port in ports)
    return Deployment("d", "other", address, engines=engines, discover=address)


def test_engines_are_taken_from_the_router_or_compared_with_it() -> None:
    with served(Router) as (deployment, _):
        found, warnings = discovered(at(deployment.endpoint))
        assert [engine.name for engine in found.engines] == ["127.0.0.1:8101", "127.0.0.1:8102"]
        assert found.metrics == (("server", "http://127.0.0.1:8101/metrics"), ("server", "http://127.0.0.1:8102/metrics"))
        assert warnings == []
        assert discovered(at(deployment.endpoint, 8101, 8102))[1] == []
        (warning,) = discovered(at(deployment.endpoint, 8101, 8103))[1]
        assert "not in `engines` of the file: 127.0.0.1:8102; not among the router's workers: 127.0.0.1:8103" in warning


def test_a_router_that_says_nothing() -> None:
    with served(Silent) as (deployment, _):
        with pytest.raises(BadInput, match=r"names no workers .*HTTP 404.*list `engines`"):
            discovered(at(deployment.endpoint))
        (warning,) = discovered(at(deployment.endpoint, 8101))[1]
        assert "could not be checked" in warning


class Ill(Router):
    page: ClassVar[Any] = {"workers": [{"url": f"http://127.0.0.1:{port}", "is_healthy": port == 8101} for port in (8101, 8102)]}


def test_engines_that_joined_or_left_by_the_end_of_a_run() -> None:
    with served(Router) as (deployment, _):
        assert changed_workers(at(deployment.endpoint, 8101, 8102)) == []
        (text,) = changed_workers(at(deployment.endpoint, 8101, 8103))
        assert text.startswith("at the end of the run the router's workers and the deployment file differ; not in `engines`")
        asks_nobody = dataclasses.replace(at(deployment.endpoint, 8101), discover="")
        assert changed_workers(asks_nobody) == []
    with served(Ill) as (deployment, _):
        (text,) = changed_workers(at(deployment.endpoint, 8101, 8102))
        assert text == "at the end of the run the router calls these workers unhealthy: http://127.0.0.1:8102"
    with served(Silent) as (deployment, _):
        assert changed_workers(at(deployment.endpoint, 8101)) == []


@pytest.fixture(scope="module")
def fleet() -> Iterator[str]:
    ports = ",".join(str(free_port()) for _ in range(2))
    with emulator("--role", "fleet", "--engines", "2", "--engine-ports", ports, "--time-scale", "0.02") as address:
        yield address


def test_a_run_finds_the_engines_by_itself(locust: LocustProcesses, tmp_path: Path, fleet: str) -> None:
    file = tmp_path / "found.yaml"
    file.write_text(yaml.safe_dump({"name": "found", "kind": "other", "endpoint": fleet, "router": {"discover": True}}))
    load = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "1", "--requests", "4", "--rounds", "1", "--warm-up", "off")
    code, output = locust.run(*load, "--prompt-tokens", "200", "--no-report", "--deployment", str(file))
    assert code == 0, output
    (run,) = locust.runs()
    told = json.loads((run.folder / "run.json").read_text())["deployment"]
    assert len(told["engines"]) == 2
    assert [row["requests"] for row in analyse_folder(run.folder).stats["engines"]] == [2, 2]
