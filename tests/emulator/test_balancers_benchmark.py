"""benchmarks/balancers.py: its configurations, and real balancers where KV_ROUTERS is set and they are installed (docs/routers.md)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.balancers import FRONTS, measure


@pytest.mark.parametrize("name", FRONTS)
def test_each_configuration_names_its_engines(name: str, tmp_path: Path) -> None:
    front = FRONTS[name]
    servers = "".join(front.server.format(n=n, port=port) for n, port in ((1, 8101), (2, 8102)))
    config = front.config.format(port=8000, servers=servers, folder=tmp_path)
    assert all(f"127.0.0.1:{port}" in config for port in (8000, 8101, 8102))
    assert config.count("{") == config.count("}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nginx", "nginx_ip_hash", "haproxy_http", "haproxy_tcp_leastconn"])
def test_a_real_balancers_page_is_no_evidence(name: str, tmp_path: Path) -> None:
    if not os.environ.get("KV_ROUTERS") or not shutil.which(FRONTS[name].program):
        pytest.skip("needs KV_ROUTERS and an installed balancer")
    row = measure(name, tmp_path)
    if name == "nginx_ip_hash":  # one client, one engine
        assert "| one server |" in row
        assert "| counters of the server |" in row
    else:
        assert "| its start time changes to and fro |" in row
        assert "| cached tokens reported with the answers |" in row
