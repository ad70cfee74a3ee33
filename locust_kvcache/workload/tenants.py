"""Reads a scenario of several tenants that send at once, each with prompts, lengths, salt and priority of its own.

Each tenant is a scenario; the mix holds them, and what it says of itself sums them up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.apis import CHAT, TAKE_TEXT
from locust_kvcache.workload.identity import NOBODY, checked_name, parse_identity, with_options
from locust_kvcache.workload.waits import NO_WAITS, Gaps

if TYPE_CHECKING:
    from locust_kvcache.workload.spec import Scenario

TENANTS = "tenants"
Parse = Callable[[dict[str, Any], str], "Scenario"]
Load = Callable[[str], "Scenario"]


def parse_tenants(
    values: dict[str, Any], source: str, parse: Parse, load: Load
) -> tuple[dict[str, Any], Sequence[float], Sequence[Scenario]]:
    """(what the mix says of itself, the share of each tenant, the tenants' scenarios); BadInput names what is wrong."""
    top = Section(values, source)
    named = top.raw(TENANTS)
    if not isinstance(named, Mapping) or len(named) < 2:
        raise BadInput(f"{top.name(TENANTS)} is {named!r}; expected two tenants or more, each a mapping with `share`")
    own = {
        "name": top.take("name", str),
        "summary": top.take("summary", str),
        "requests": top.take("requests", int, low=len(named)),
        "rounds": top.take("rounds", int, 2, low=1),
        "api": top.take("api", str, CHAT, choices=TAKE_TEXT),
    }
    top.done()
    where = f"{source}: key '{TENANTS}'"
    shares, found = list[float](), list[Any]()
    for name, entry in named.items():
        checked_name(name, f"{where}: a tenant's name")
        if not isinstance(entry, Mapping):
            raise BadInput(f"{where}: {name} is {entry!r}; expected a mapping with `share` and the keys of a scenario")
        share, tenant = _tenant(name, dict(entry), own, source, parse, load)
        shares.append(share)
        found.append(tenant)
    if abs(sum(shares) - 1) > 0.001:
        raise BadInput(f"{where}: the shares add up to {sum(shares):g}; expected 1")
    return own, shares, found


def _tenant(
    name: str, entry: dict[str, Any], own: dict[str, Any], source: str, parse: Parse, load: Load
) -> tuple[float, Scenario]:
    """Its own keys stand in `entry`, or those of another scenario are taken with `scenario: NAME`."""
    section = Section(entry, source, f"{TENANTS}.{name}.")
    share = section.take("share", float, low=1e-6)
    base, full_name = section.take("scenario", str, ""), f"{own['name']}_{name}"
    if base:
        tenant = load(base)
        identity = parse_identity(section, name) if "identity" in entry else dataclasses.replace(tenant.identity, tenant=name)
        section.done()
        tenant = dataclasses.replace(tenant, name=full_name, identity=identity, file="")
    else:
        values = {key: value for key, value in entry.items() if key != "share"}
        if stray := [key for key in ("name", "summary", "requests", "rounds", "api", TENANTS) if key in values]:
            raise BadInput(f"{section.name(stray[0])} stands with a tenant; it belongs to the scenario as a whole")
        given = {**values, "name": full_name, "summary": "-", "requests": 1, "api": own["api"]}
        tenant = parse(given, f"{source}: {TENANTS}.{name}")
        tenant = dataclasses.replace(tenant, identity=dataclasses.replace(tenant.identity, tenant=name))
    if tenant.trace or tenant.doses or tenant.tenants or tenant.converses or tenant.api != own["api"]:
        raise BadInput(
            f"{source}: {TENANTS}.{name}: expected a scenario with `prefix` and `turns`, and the api of the others ({own['api']}); "
            "traces, conversations, `doses` and tenants of a tenant are not for a mix"
        )
    return share, tenant


def _shared_out(requests: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `requests`, at least 1 each: largest remainders first."""
    exact = [requests * weight / sum(weights) for weight in weights]
    found = [max(1, int(value)) for value in exact]
    for place in sorted(range(len(exact)), key=lambda k: int(exact[k]) - exact[k])[: max(0, requests - sum(found))]:
        found[place] += 1
    return found


def mixed(own: dict[str, Any], shares: Sequence[float], tenants: Sequence[Scenario]) -> Scenario:
    """The whole scenario. Its lengths are the largest of the tenants', for checks of what fits."""
    counts = _shared_out(own["requests"], shares)
    parts = tuple(one.with_requests(count) for one, count in zip(tenants, counts, strict=True))
    longest = max(parts, key=lambda one: one.prefix_tokens + one.turn_tokens[1])
    return dataclasses.replace(
        longest,
        **own | {"requests": sum(one.requests for one in parts)},
        prefix_shared_by=min(one.prefix_shared_by for one in parts),
        documents=0,
        zipf=0.0,
        corpus=None,
        turn_lengths=None,
        turns=max(one.turns for one in parts),
        turn_tokens=(min(one.turn_tokens[0] for one in parts), max(one.turn_tokens[1] for one in parts)),
        reply="server" if any(one.reply == "server" for one in parts) else "planned",
        think_time=NO_WAITS,
        output_tokens=max(one.output_tokens for one in parts),
        output_lengths=None,
        identity=NOBODY,
        tenants=parts,
    )


def scaled(mix: Scenario, requests: int) -> Scenario:
    """The same mix with other requests in a round; the shares stay."""
    counts = _shared_out(requests, [one.requests for one in mix.tenants])
    parts = tuple(one.with_requests(count) for one, count in zip(mix.tenants, counts, strict=True))
    return dataclasses.replace(mix, requests=sum(counts), tenants=parts)


def alone(mix: Scenario, tenant: str) -> Scenario:
    """Only this tenant's requests, as they are in the mix: the same lengths, the same order, the same times."""
    one = named(mix, tenant)
    return dataclasses.replace(mix, requests=one.requests, only=tenant)


def named(mix: Scenario, tenant: str) -> Scenario:
    """The scenario of one tenant; BadInput where there is none of that name."""
    for one in mix.tenants:
        if one.identity.tenant == tenant:
            return one
    known = ", ".join(one.identity.tenant for one in mix.tenants)
    raise BadInput(f"scenario {mix.name} has no tenant {tenant!r}; it has {known or 'none: add `tenants` to its file'}")


def with_identity(scenario: Scenario, cache_salt: str, echo_headers: tuple[str, ...]) -> Scenario:
    """--cache-salt and --echo-header, for every tenant."""
    if not cache_salt and not echo_headers:
        return scenario
    tenants = tuple(with_identity(one, cache_salt, echo_headers) for one in scenario.tenants)
    return dataclasses.replace(scenario, identity=with_options(scenario.identity, cache_salt, echo_headers), tenants=tenants)


def with_gaps(scenario: Scenario, gaps: Gaps) -> Scenario:
    """--gap-scale and --max-gap, for every tenant."""
    return dataclasses.replace(scenario, gaps=gaps, tenants=tuple(with_gaps(one, gaps) for one in scenario.tenants))
