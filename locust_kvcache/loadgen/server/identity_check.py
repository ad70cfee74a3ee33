"""Asks the server, before any load, whether it takes the `cache_salt` and the `priority` that the scenarios send.

A refusal is bad input with a way out; a server that takes a salt and shares prefixes all the same is warned of, since the plan counts no
such hits.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.loadgen.server.canary import new_canary
from locust_kvcache.loadgen.server.patience import patiently
from locust_kvcache.loadgen.server.probe import Probe
from locust_kvcache.workload.spec import Scenario

WAYS_OUT = {
    "priority": "start vLLM with --scheduling-policy priority, or leave `priority` out of the scenario's `identity` or of --extra-body",
    "cache_salt": "leave `cache_salt` out of the scenario's `identity`, --cache-salt or --extra-body: vLLM supports it since 0.8.5, "
    "other servers may not",
}


def way_out(said: str) -> str:
    """For a refusal that names one of the two; empty where it names neither."""
    return next((f"{field}: {text}" for field, text in WAYS_OUT.items() if field in said.lower()), "")


def check_identity(probe: Probe, api: str, scenarios: Iterable[Scenario], pieces: int) -> list[str]:
    """Warnings; BadInput where a field is refused."""
    parts = [part for scenario in scenarios for part in scenario.parts]
    salted = [part for part in parts if part.identity.cache_salt]
    ranked = [part.identity.priority for part in parts if part.identity.priority is not None]
    if ranked:
        highest = max(ranked, key=abs)  # vLLM takes 0 under any policy
        _unless_refused(probe, _send(probe, api, new_canary(pieces), "priority", highest), "priority", highest)
    if not salted:
        return []
    return _salt_keeps_apart(probe, api, pieces, salted[0].name)


def _send(probe: Probe, api: str, messages: list[dict[str, str]], field: str, value: Any) -> StreamOutcome:
    kept = probe.parameters
    probe.parameters = {**kept, field: value}
    try:
        return patiently(lambda: probe.stream(messages, api))
    finally:
        probe.parameters = kept


def _unless_refused(probe: Probe, outcome: StreamOutcome, field: str, value: Any) -> None:
    if outcome.status != "ok":
        said = f"{outcome.status}: {outcome.error}"
        raise BadInput(f"{probe.endpoint} does not take {field} {value!r} ({said[:200]}); {WAYS_OUT[field]}")


def _salt_keeps_apart(probe: Probe, api: str, pieces: int, scenario: str) -> list[str]:
    """The same prompt under two salts: the second must find nothing of the first."""
    messages = new_canary(pieces)
    salts = [f"preflight-{secrets.token_hex(4)}" for _ in range(2)]
    outcomes = [_send(probe, api, messages, "cache_salt", salt) for salt in salts]
    for outcome in outcomes:
        _unless_refused(probe, outcome, "cache_salt", salts[0])
    other = outcomes[1].reader.cached_tokens or 0
    if other:
        return [
            f"the server found {other} cached tokens of a prompt that was sent under another cache_salt: salts do not keep prefixes apart "
            f"here, and the planned hits of {scenario} are too low"
        ]
    return []
