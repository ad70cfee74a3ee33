"""The shipped deployment files of fleets can be read, and name engines, a router and what a session needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from locust_kvcache.contract.deployment import load_deployment


@pytest.mark.parametrize(
    ("name", "engines"),
    [("fleet", 4), ("emulator_fleet", 4), ("compose_fleet", 4), ("compose_fleet_vllm", 2), ("production_stack", 2), ("llm_d", 2)],
)
def test_a_fleet_of_the_product(name: str, engines: int) -> None:
    deployment = load_deployment(Path(name))
    assert len(deployment.engines) == engines
    assert "router" in {role for role, _ in deployment.metrics}
    assert deployment.gpus is not None
