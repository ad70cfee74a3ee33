"""Reads run.json into a frozen RunInfo with checked types.

Files of earlier versions lack keys; a missing key is None or empty, never guessed. A value of another type is taken as missing and
named in a note. `raw` is the file as read: what reports list of it, and what stats.json keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.analysis.reading.taken import Json, Taken
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import FAILURES
from locust_kvcache.contract.failure_limit import parse_failure_limit
from locust_kvcache.contract.finding import ERROR, Finding

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
            return "a worker received more chunks per second than its certificate stands for"
        return f"a worker received {self.chunks_per_s_max:,.0f} chunks/s, its certificate stands for {self.certified_chunks_per_s:,.0f}"


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
        """Rounds in which a worker received more chunks per second than its certificate stands for, and how many."""
        return {(entry.scenario, entry.number): entry.beyond_text() for entry in self.rounds if entry.client_limited}

    @property
    def timed_rounds(self) -> dict[tuple[str, int], TimedInfo]:
        """The rounds that ended by the clock."""
        return {(entry.scenario, entry.number): entry.timed for entry in self.rounds if entry.timed is not None}

    def planned_rounds(self, scenario: str) -> int | None:
        """Rounds that the run wanted of a scenario: one number for all, or one per scenario."""
        return self.rounds_planned.get(scenario) if isinstance(self.rounds_planned, Mapping) else self.rounds_planned


def parse_run_info(raw: Json) -> RunInfo:
    """Every value that the analysis uses; the shapes of what it walks through were checked when the file was read."""
    notes: list[Finding] = []
    top = Taken(raw, "", notes)
    arrival, deployment = top.inside("arrival"), top.inside("deployment")
    block = top.inside("server").number("block_size_tokens")
    command = top.texts("command")
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
        rounds_planned=_rounds_planned(top),
        rounds=_rounds(raw.get("rounds") or (), notes),
        study=top.mapping("study"),
        command=command,
        warnings=top.texts("warnings"),
        shape=top.text("shape"),
        max_failures=_max_failures(top),
        problems=tuple(notes),
        raw=raw,
    )


def _deployment(found: Taken) -> DeploymentInfo:
    gpus = found.whole("gpus")
    return DeploymentInfo(
        name=found.text("name"),
        kind=found.text("kind"),
        gpus=gpus if gpus is not None and gpus > 0 else None,
        link_gb_per_s=found.number("link_gb_per_s"),
        slo=found.numbers("slo"),
        capacity=found.numbers("capacity"),
        roles=found.roles("metrics"),
        engine_names=found.names("engines"),
        engine_roles=found.roles("engines"),
        price_per_gpu_hour=found.number("price_per_gpu_hour"),
        price_per_gb_month=found.number("price_per_gb_month"),
    )


def _model_facts(found: Taken) -> ModelFacts:
    return ModelFacts(
        found.number("kv_bytes_per_token"), found.number("active_parameters"), found.number("attention_flop_per_token2")
    )


def _rounds_planned(top: Taken) -> Mapping[str, int] | int | None:
    if isinstance(top.value("rounds_planned"), dict):
        return {name: int(count) for name, count in top.numbers("rounds_planned").items()}
    return top.whole("rounds_planned")


def _max_failures(top: Taken) -> str | int | None:
    """As given, where it is a limit."""
    given = top.value("max_failures")
    try:
        parse_failure_limit(given)
    except BadInput:
        top.note("max_failures", "a number of requests, or a share such as 1%")
        return None
    return None if given is None else str(given)


def _rounds(entries: Sequence[Any], notes: list[Finding]) -> tuple[RoundInfo, ...]:
    """Each round once: of two entries the last one stands, as a round that is played again takes the place of one that was cut."""
    found: dict[tuple[str, int], RoundInfo] = {}
    for place, entry in enumerate(entries):
        parsed = _round(entry, place, notes)
        key, where = (parsed.scenario, parsed.number), f"run.json: rounds[{place}]"
        if parsed.number < 1:
            text = f"{where} does not say which round it is ('round' is {str(entry.get('round'))[:80]!r}); it was left out."
            notes.append(Finding(ERROR, "round_number", text, "Was run.json changed after the run?"))
            continue
        if key in found:
            text = f"{where} is round {parsed.number} of {parsed.scenario}, which is listed before; the last entry is used."
            notes.append(Finding(ERROR, "round_twice", text, "Was run.json changed after the run?"))
        found[key] = parsed
    return tuple(found.values())


def _capacity(found: Taken) -> Json:
    """What a capacity study noted of a round, where it says which search it belongs to."""
    inside, said = found.inside("capacity"), found.value("capacity")
    if not isinstance(said, dict):
        return {}
    numbers: Json = {name: inside.number(name) for name in ("users", "request_rate_per_s") if name in said}
    texts: Json = {name: inside.text(name) for name in ("side", "kind")}
    return {**said, **numbers, **texts} if texts["side"] in SIDES and texts["kind"] else {}


def _round(entry: Any, place: int, notes: list[Finding]) -> RoundInfo:
    found = Taken(entry, f"rounds[{place}].", notes)
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
        capacity=_capacity(found),
        timed=_timed(found),
    )


def _timed(found: Taken) -> TimedInfo | None:
    inside = found.inside("timed")
    round_s, warm_up_s = inside.number("round_s"), inside.number("warm_up_s")
    return TimedInfo(round_s, warm_up_s or 0.0) if round_s is not None and round_s > (warm_up_s or 0.0) else None


def _nonce_given(raw: Json, command: tuple[str, ...]) -> bool:
    """The nonce was named by the user: the prompts may have been sent before. Files of earlier versions have the command line only."""
    told = raw.get("nonce_given")
    return told if isinstance(told, bool) else any(word.startswith("--nonce") for word in command)
