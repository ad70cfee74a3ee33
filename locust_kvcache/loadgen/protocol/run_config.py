"""Holds what the master has decided about a run and tells the workers: small values only, never a prompt, never a key."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import gevent

from locust_kvcache.contract.deployment import Transport
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.workload.make_plan import make_plan
from locust_kvcache.workload.plan import Calibration, Plan
from locust_kvcache.workload.spec import Scenario


def pause() -> None:
    """Between pieces of long work: heartbeats go out meanwhile, and open streams are read."""
    gevent.sleep(0)


def body_parameters(accepted: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Body keys of a scenario's requests: only those that the preflight saw the server accept."""
    wanted = {
        "max_tokens": scenario.output_tokens,
        "max_completion_tokens": scenario.output_tokens,
        "temperature": scenario.temperature,
        "ignore_eos": scenario.ignore_eos,
    }
    return {key: wanted.get(key, value) for key, value in accepted.items()}


def _transport(values: dict[str, Any]) -> Transport:
    """As it was before it was sent: lists were tuples."""
    return Transport(**{**values, "headers": tuple((name, value) for name, value in values["headers"])})


@dataclass(frozen=True)
class RunConfig:
    run_id: str
    deployment: str
    endpoint: str
    api_key_env: str
    model: str
    nonce: str
    seed: int
    block_size_tokens: int
    zero_cached_if_missing: bool  # this server leaves cached_tokens out when it is 0
    request_timeout_s: float
    idle_timeout_s: float | None
    outage_limit_s: float  # 0: requests to a server that cannot be reached fail at once
    transport: Transport
    fold_system: bool
    parameters: dict[str, Any]  # of every request body, as the server was seen to accept them
    arrival: Arrival
    calibration: Calibration
    scenarios: tuple[Scenario, ...]

    def to_message(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_message(cls, data: dict[str, Any]) -> RunConfig:
        return cls(
            **{
                **data,
                "transport": _transport(data["transport"]),
                "arrival": Arrival(**data["arrival"]),
                "calibration": Calibration(**data["calibration"]),
                "scenarios": tuple(Scenario.from_dict(values) for values in data["scenarios"]),
            }
        )

    def scenario(self, name: str) -> Scenario:
        return next(scenario for scenario in self.scenarios if scenario.name == name)

    def plan(self, name: str) -> Plan:
        """With the run's own nonce; a control and a warm-up send the same plan with another."""
        return make_plan(self.scenario(name), self.calibration, self.nonce, self.seed, pause)

    def body_parameters(self, scenario: Scenario) -> dict[str, Any]:
        return body_parameters(self.parameters, scenario)

    def api_key(self) -> str | None:
        return os.environ.get(self.api_key_env) or None
