"""Writes the sentences about a --capacity search: the load it found, the objective, and the doubts."""

from __future__ import annotations

from collections.abc import Mapping

from locust_kvcache.analysis.across_runs.capacity_steps import Capacity, Step, by_side, found_capacity
from locust_kvcache.analysis.basics.number_text import number, percent, plural
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.run_info import SIDES
from locust_kvcache.analysis.report.trust import Said

SHORT_S = 5.0
LEAST_HIT = 0.5  # share of cached prompt tokens below which a step of the hit search is no hit


def capacity_text(found: Capacity) -> str:
    """4.10 [3.90, 4.30]; about 4.10 without an interval; or which side has no bound."""
    if found.value is None or found.passed is None or found.failed is None:
        return f"below {number(found.failed)}" if found.passed is None else f"at least {number(found.passed)}"
    return (
        f"about {number(found.value)}"
        if found.low is None
        else f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
    )


def objective_text(slo: Mapping[str, float], share: float) -> str:
    return " and ".join(
        f"{name.removesuffix('_ms').upper()} p{share * 100:g} under {number(limit / 1000)} s" for name, limit in slo.items()
    )


def unit_of(sides: Mapping[str, list[Step]]) -> str:
    return next(step.unit for steps in sides.values() for step in steps)


def sentence(scenario: str, sides: Mapping[str, list[Step]], slo: Mapping[str, float], share: float) -> str:
    found = {side: found_capacity(steps, slo, share) for side, steps in sides.items()}
    at, unit = objective_text(slo, share), unit_of(sides)
    least = least_hit(sides.get("hit", []))
    if least is not None and least < LEAST_HIT:
        measured = "; ".join(f"{side} {capacity_text(one)}" for side, one in found.items())
        missed = f"the hit search missed the cache (a step with {percent(least)} cached tokens)"
        return f"{scenario}: {missed}; measured: {measured}, {unit} at {at}"
    if least is None and "hit" in found:
        measured = "; ".join(f"{side} {capacity_text(one)}" for side, one in found.items())
        return f"{scenario}: nothing shows that the hit search hit; measured: {measured}, {unit} at {at}"
    if set(found) == set(SIDES) and all(one.value is not None for one in found.values()):
        cold, hit = capacity_text(found["cold"]), capacity_text(found["hit"])
        said = (
            "the cache raises capacity"
            if _above(found["hit"], found["cold"])
            else "a higher capacity with the cache is not shown"
        )
        return f"{scenario}: {said}: {cold} cold, {hit} hit, {unit} at {at}"
    return (
        f"{scenario}: " + "; ".join(f"{side}: capacity {capacity_text(one)} {unit}" for side, one in found.items()) + f" at {at}"
    )


def _above(one: Capacity, other: Capacity) -> bool:
    """Its interval lies above the other's; without one, its steps were sustained where none of the other's was."""
    low = one.passed if one.low is None else one.low
    high = other.failed if other.high is None else other.high
    return low is not None and high is not None and low > high


def least_hit(steps: list[Step]) -> float | None:
    """The smallest share of cached prompt tokens in a step of the hit search; None where nothing tells."""
    return min((step.hit_share for step in steps if step.hit_share is not None), default=None)


def problems_of(scenario: str, side: str, steps: list[Step], capacity: Capacity) -> list[Problem]:
    """What would make a capacity another thing than it says."""
    found = []
    if capacity.no_interval and capacity.value is not None:
        text = f"{scenario}, {side}: the capacity has no interval: {capacity.no_interval}."
        todo = "Send more requests per step (--requests), and measure more often at its ends (--capacity-repeats)."
        found.append(Problem("warning", "no_interval", text, todo))
    if short := [step for step in steps if step.found.short_of_users]:
        first = min(short, key=lambda step: step.level)
        text = (
            f"{scenario}, {side}: {plural(len(short), 'step')} from {number(first.level)} {first.unit} on would have kept the limits as "
            f"sent: requests were sent late ({number(first.in_flight)} in flight on average at the first of them)."
        )
        found.append(
            Problem("warning", "short_of_users", text, "The capacity may be the load generator's: give more users (-u).")
        )
    if few := [step for step in steps if step.found.drift is None]:
        text = f"{scenario}, {side}: {plural(len(few), 'step')} had too few requests to see whether the queue grows."
        found.append(Problem("warning", "not_steady_known", text, "Send more per step (--requests 400)."))
    ends = {capacity.passed, capacity.failed}
    if brief := [step.lasted_s for step in steps if step.level in ends and step.lasted_s < SHORT_S]:
        text = f"{scenario}, {side}: the steps that enclose the capacity lasted {number(min(brief))} s."
        found.append(
            Problem(
                "warning",
                "short_steps",
                text,
                f"A queue needs time to show: send more per step, {SHORT_S:g} s at the least (--requests).",
            )
        )
    least = least_hit(steps)
    if steps[0].side == "hit" and least is not None and least < LEAST_HIT:
        text = f"{scenario}, hit: only {percent(least)} of the prompt tokens were cached in one step."
        found.append(Problem("warning", "hit_is_not_hit", text, "The working set may exceed the cache: send fewer --requests."))
    return found


def own_trust(steps: list[Step], slo: Mapping[str, float], share: float) -> list[Said]:
    searches = [mine for scenario in dict.fromkeys(step.scenario for step in steps) for mine in by_side(steps, scenario).values()]
    without = sum(found_capacity(mine, slo, share).low is None for mine in searches)
    if without:
        known = Said(
            f"No interval for {without} of {plural(len(searches), 'search', 'searches')}: the steps do not carry one.", True
        )
    else:
        known = Said(
            "One search each: intervals (95 %) cover how finely and how often its levels were measured, not other runs.", True
        )
    return [known, Said(f"Objective: {objective_text(slo, share)}, counted from each request's intended start.")]
