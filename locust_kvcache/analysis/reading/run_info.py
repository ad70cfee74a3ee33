"""run.json comes in, a frozen RunInfo goes out: what the analysis walks through, each value of its type, and what was of another type.

Files of earlier versions lack keys; a missing key is None or empty, never guessed. A value of another type is taken as missing and
named in a note. `raw` is the file as read: what reports list of it, and what stats.json keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.contract.exit_codes import FAILURES
from locust_kvcache.contract.finding import NOTE, Finding

Json = dict[str, Any]


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

    def beyond_text(self) -> str:
        if self.chunks_per_s_max is None or self.certified_chunks_per_s is None:
            return "a worker received more chunks per second than its certificate stands for"
        return f"a worker received {self.chunks_per_s_max:,.0f} chunks/s, its certificate stands for {self.certified_chunks_per_s:,.0f}"


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
    max_failures: str | int | None = None  # as given: a number, or a share such as 1%
    problems: tuple[Finding, ...] = field(default=(), repr=False)
    raw: Json = field(default_factory=dict, repr=False)

    @property
    def beyond_certificate(self) -> dict[tuple[str, int], str]:
        """Rounds in which a worker received more chunks per second than its certificate stands for, and how many."""
        return {(entry.scenario, entry.number): entry.beyond_text() for entry in self.rounds if entry.client_limited}

    def planned_rounds(self, scenario: str) -> int | None:
        """Rounds that the run wanted of a scenario: one number for all, or one per scenario."""
        return self.rounds_planned.get(scenario) if isinstance(self.rounds_planned, Mapping) else self.rounds_planned


class _Taken:
    """Values by key and type; what is of another type is missing, and noted."""

    def __init__(self, values: Any, path: str, notes: list[Finding]) -> None:
        self._values: Json = values if isinstance(values, dict) else {}
        self._path, self._notes = path, notes
        if values is not None and not isinstance(values, dict):
            self._note(path.removesuffix("."), values, "an object")

    def _note(self, name: str, value: Any, wanted: str) -> None:
        text = f"run.json: key {name!r} is {str(value)[:80]!r}; expected {wanted}. It was taken as missing."
        self._notes.append(Finding(NOTE, "run_json_type", text, "docs/files.md lists every key and its type."))

    def _typed(self, key: str, kinds: type | tuple[type, ...], wanted: str) -> Any:
        value = self._values.get(key)
        if value is None:
            return None
        is_flag = isinstance(value, bool) and kinds is not bool
        if is_flag or not isinstance(value, kinds):
            self._note(self._path + key, value, wanted)
            return None
        return value

    def text(self, key: str) -> str | None:
        found: str | None = self._typed(key, str, "text")
        return found

    def whole(self, key: str) -> int | None:
        found: int | None = self._typed(key, int, "an integer")
        return found

    def number(self, key: str) -> float | None:
        found = self._typed(key, (int, float), "a number")
        return None if found is None else float(found)

    def flag(self, key: str) -> bool:
        return self._typed(key, bool, "true or false") is True

    def mapping(self, key: str) -> Json:
        found: Json | None = self._typed(key, dict, "an object")
        return found or {}

    def roles(self, key: str) -> tuple[str, ...]:
        """The `role` of each object in a list."""
        pages = self._typed(key, list, "a list") or ()
        return tuple(str(page["role"]) for page in pages if isinstance(page, dict) and page.get("role"))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(entry) for entry in self._typed(key, list, "a list") or ())

    def inside(self, key: str) -> _Taken:
        return _Taken(self._values.get(key), f"{self._path}{key}.", self._notes)


def parse_run_info(raw: Json) -> RunInfo:
    """Every value that the analysis uses; the shapes of what it walks through were checked when the file was read."""
    notes: list[Finding] = []
    top = _Taken(raw, "", notes)
    arrival, deployment = top.inside("arrival"), top.inside("deployment")
    block = top.inside("server").number("block_size_tokens")
    command = top.texts("command")
    planned = raw.get("rounds_planned")
    return RunInfo(
        run_id=None if raw.get("run_id") is None else str(raw["run_id"]),
        complete=top.flag("complete") or raw.get("cause") == FAILURES.name,  # failures are judged from the records
        incomplete_reason=top.text("incomplete_reason"),
        deployment=_deployment(deployment),
        model=top.text("model"),
        model_facts=_model_facts(top.inside("model_info")),
        targets=top.mapping("targets"),
        block_size_tokens=int(block) if block is not None and block > 0 else None,
        users=top.whole("users"),
        workers=top.whole("workers"),
        arrival=ArrivalInfo(arrival.text("kind") or "closed", arrival.number("request_rate_per_s")),
        seed=top.whole("seed"),
        nonce=top.text("nonce"),
        nonce_given=_nonce_given(raw, command),
        scenarios=tuple(raw.get("scenarios") or ()),
        arms=top.texts("arms"),
        rounds_planned=planned if isinstance(planned, dict | int) else None,
        rounds=tuple(_round(entry, number, notes) for number, entry in enumerate(raw.get("rounds") or ())),
        study=top.mapping("study"),
        command=command,
        warnings=top.texts("warnings"),
        max_failures=raw.get("max_failures"),
        problems=tuple(notes),
        raw=raw,
    )


def _deployment(found: _Taken) -> DeploymentInfo:
    gpus = found.whole("gpus")
    return DeploymentInfo(
        name=found.text("name"),
        kind=found.text("kind"),
        gpus=gpus if gpus is not None and gpus > 0 else None,
        link_gb_per_s=found.number("link_gb_per_s"),
        slo=found.mapping("slo"),
        capacity=found.mapping("capacity"),
        roles=found.roles("metrics"),
    )


def _model_facts(found: _Taken) -> ModelFacts:
    return ModelFacts(
        found.number("kv_bytes_per_token"), found.number("active_parameters"), found.number("attention_flop_per_token2")
    )


def _round(entry: Any, place: int, notes: list[Finding]) -> RoundInfo:
    found = _Taken(entry, f"rounds[{place}].", notes)
    return RoundInfo(
        scenario=str(found.text("scenario")),
        number=found.whole("round") or 0,
        planned_requests=found.whole("planned_requests"),
        records=found.whole("records"),
        wall_s=found.number("wall_s"),
        complete=found.flag("complete"),
        client_limited=found.flag("client_limited"),
        chunks_per_s_max=found.number("worker_chunks_per_s_max"),
        certified_chunks_per_s=found.number("certified_chunks_per_s_min"),
        users=found.whole("users"),
        kind=found.text("kind"),
        arm=found.text("arm"),
        canary=found.mapping("canary"),
        capacity=found.mapping("capacity"),
    )


def _nonce_given(raw: Json, command: tuple[str, ...]) -> bool:
    """The nonce was named by the user: the prompts may have been sent before. Files of earlier versions have the command line only."""
    told = raw.get("nonce_given")
    return told if isinstance(told, bool) else any(word.startswith("--nonce") for word in command)
