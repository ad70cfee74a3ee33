"""Defines the RunInfo, a frozen value of all that the analysis uses of run.json (run_json.py reads it).

A key that the file lacks is None or empty. `raw` is the file as read: what reports list of it, and what stats.json keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.analysis.reading.taken import Json
from locust_kvcache.contract.finding import Finding

SIDES = ("cold", "hit")  # of a capacity study


@dataclass(frozen=True)
class DeploymentInfo:
    """What the deployment file said of the servers."""

    name: str | None
    kind: str | None  # pd_disagg, non_disagg or other
    gpus: int | None
    link_gb_per_s: float | None
    slo: Mapping[str, float]  # ms by objective
    capacity: Mapping[str, float]  # by tier: gpu_tokens, cpu_gb, store_gb
    roles: tuple[str, ...] = ()  # whose metrics pages are named
    engine_names: Mapping[str, str] = field(default_factory=dict)  # by the URL of a metrics page
    engine_roles: tuple[str, ...] = ()  # of `engines`, in order
    price_per_gpu_hour: float | None = None
    price_per_gb_month: float | None = None  # of the KV store

    @property
    def is_pd(self) -> bool:
        return self.kind == "pd_disagg"


@dataclass(frozen=True)
class ModelFacts:
    """What models.yaml knows of the model."""

    kv_bytes_per_token: float | None
    active_parameters: float | None
    attention_flop_per_token2: float | None


@dataclass(frozen=True)
class ArrivalInfo:
    """How requests came: closed loop, or at a rate."""

    kind: str
    request_rate_per_s: float | None

    @property
    def closed(self) -> bool:
        return self.kind == "closed"


@dataclass(frozen=True)
class RoundInfo:
    """One entry of `rounds`. `canary` and `capacity` are as written; empty where the round has none."""

    scenario: str
    number: int
    planned_requests: int | None
    records: int | None
    wall_s: float | None
    complete: bool
    client_limited: bool
    chunks_per_s_max: float | None  # that a worker received
    certified_chunks_per_s: float | None
    users: int | None
    kind: str | None  # cold, control or hit
    arm: str | None
    canary: Mapping[str, Any]
    capacity: Mapping[str, Any]
    timed: TimedInfo | None = None

    def beyond_text(self) -> str:
        if self.chunks_per_s_max is None or self.certified_chunks_per_s is None:
            return "a worker received more chunks per second than its certificate covers"
        return (
            f"a worker received {self.chunks_per_s_max:,.0f} chunks/s, its certificate covers {self.certified_chunks_per_s:,.0f}"
        )


@dataclass(frozen=True)
class TimedInfo:
    """A round that ended by the clock: requests were sent for `round_s`, and those of the first `warm_up_s` are in no statistics."""

    round_s: float
    warm_up_s: float


@dataclass(frozen=True)
class RunInfo:
    """A run as run.json tells it."""

    run_id: str | None
    complete: bool
    incomplete_reason: str | None
    deployment: DeploymentInfo
    model: str | None
    model_facts: ModelFacts
    targets: Mapping[str, Any]
    block_size_tokens: int | None
    users: int | None
    workers: int | None
    arrival: ArrivalInfo
    seed: int | None
    nonce: str | None
    nonce_given: bool
    scenarios: tuple[Mapping[str, Any], ...]
    arms: tuple[str, ...]
    rounds_planned: Mapping[str, int] | int | None
    rounds: tuple[RoundInfo, ...]
    study: Mapping[str, Any]
    command: tuple[str, ...]
    warnings: tuple[str, ...]
    shape: str | None = None  # the LoadTestShape that changes the users
    max_failures: str | int | None = None  # as given: a number, or a share such as 1%
    problems: tuple[Finding, ...] = field(default=(), repr=False)
    raw: Json = field(default_factory=dict, repr=False)

    @property
    def beyond_certificate(self) -> dict[tuple[str, int], str]:
        """Rounds in which a worker received more chunks per second than its certificate covers, and how many."""
        return {(entry.scenario, entry.number): entry.beyond_text() for entry in self.rounds if entry.client_limited}

    @property
    def timed_rounds(self) -> dict[tuple[str, int], TimedInfo]:
        """The rounds that ended by the clock."""
        return {(entry.scenario, entry.number): entry.timed for entry in self.rounds if entry.timed is not None}

    def planned_rounds(self, scenario: str) -> int | None:
        """Rounds that the run wanted of a scenario: one number for all, or one per scenario."""
        return self.rounds_planned.get(scenario) if isinstance(self.rounds_planned, Mapping) else self.rounds_planned
