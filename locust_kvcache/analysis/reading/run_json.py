"""Reads run.json into a RunInfo.

Files of earlier versions lack keys; a missing key is None or empty, never guessed. A value of another type is taken as missing and
named in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locust_kvcache.analysis.reading.run_info import SIDES, ArrivalInfo, DeploymentInfo, ModelFacts, RoundInfo, RunInfo, TimedInfo
from locust_kvcache.analysis.reading.taken import Json, Taken
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import FAILURES
from locust_kvcache.contract.failure_limit import parse_failure_limit
from locust_kvcache.contract.finding import ERROR, Finding


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
