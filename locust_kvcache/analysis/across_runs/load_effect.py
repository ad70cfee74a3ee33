"""Takes the mean TTFT of a scenario apart under several ways of loading: own prefill, queue, and sharing.

Own prefill is the TTFT of a single user in the same cache state. Queue is what the servers' counters add to that user's queue time;
sharing is the rest: front ends, engine steps and KV loads shared with other requests. A run is one observation (run_spread.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from locust_kvcache.analysis.across_runs import conditions, run_spread
from locust_kvcache.analysis.basics.number_text import number
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.round_kinds import COLD, CONTROL

ONE_USER = "one user"
MAY_DIFFER = frozenset({"users", "arrival", "scenarios", "seed", "rounds_planned"})  # of compare_conditions
PLAN_MAY_DIFFER = frozenset({"requests", "rounds"})  # of a scenario in run.json


@dataclass(frozen=True)
class Way:
    """How requests were sent. `given_rate`: at a rate, so that the throughput is no result."""

    name: str
    given_rate: bool
    runs: tuple[Analysis, ...]


@dataclass(frozen=True)
class Split:
    """A cache state under one way of loading. Parts in ms; `own_ms` is None where no run has one user, `queue_ms` without counters.

    `ttft` and `rate` are rows of run_spread.spread, `ttft_change` and `rate_change` of run_spread.within (None for the first state).
    """

    way: str
    state: str
    ttft: dict[str, Any]
    rate: dict[str, Any]
    ttft_change: dict[str, Any] | None
    rate_change: dict[str, Any] | None
    own_ms: float | None
    queue_ms: float | None

    @property
    def ttft_ms(self) -> float:
        return float(self.ttft["mean"])

    @property
    def sharing_ms(self) -> float | None:
        """What is left of the TTFT; with the queue in it where nobody counted that."""
        return None if self.own_ms is None else self.ttft_ms - self.own_ms - (self.queue_ms or 0.0)


def scenario_of(runs: Sequence[Analysis]) -> str:
    """The one scenario of all runs; BadInput where their plan, model, server or cache states differ."""
    names = {str(row["scenario"]) for run in runs for row in run.stats["rounds"]}
    if len(names) != 1:
        raise BadInput(f"the runs play {', '.join(sorted(names)) or 'nothing'}; expected one scenario in all of them")
    plans = [{key: value for key, value in run.info.scenarios[0].items() if key not in PLAN_MAY_DIFFER} for run in runs]
    for run, plan in zip(runs, plans, strict=True):
        changed = sorted(key for key in {**plan, **plans[0]} if plan.get(key) != plans[0].get(key))
        if changed:
            raise BadInput(f"{run.run_id}: {changed[0]} of the scenario is {plan.get(changed[0])!r}, in {runs[0].run_id} it is "
                           f"{plans[0].get(changed[0])!r}; expected the same scenario but for its requests")  # fmt: skip
    endpoints = list(dict.fromkeys(str(conditions.walk(run.info.raw, "deployment.endpoint")) for run in runs))
    if len(endpoints) > 1:
        raise BadInput(
            f"the runs are of the servers {', '.join(endpoints)}; expected one deployment: give each its own load-effect"
        )
    for found in conditions.compare_conditions([run.info for run in runs], [run.requests for run in runs], MAY_DIFFER):
        if found.state == conditions.FORBIDS:
            raise BadInput(f"{found.name} differs between the runs: {' / '.join(dict.fromkeys(found.values))[:300]}; "
                           "expected runs that differ in their load only")  # fmt: skip
    return names.pop()


def way_of(run: Analysis) -> str:
    """Its name: all 50 at once, 5 users, 1.00 requests/s (poisson), one user."""
    arrival, users = run.info.arrival, run.info.users or 0
    if not arrival.closed:
        return f"{number(arrival.request_rate_per_s)} requests/s ({arrival.kind})"
    if users == 1:
        return ONE_USER
    requests = max((entry.planned_requests or 0 for entry in run.info.rounds), default=0)
    return f"all {requests:,} at once" if users >= requests else f"{users:,} users"


def _order(way: str, run: Analysis) -> tuple[int, float]:
    """Closed loops first, the most users first; then rates, the highest first; one user at the end."""
    if way == ONE_USER:
        return 2, 0.0
    if run.info.arrival.closed:
        return 0, -float(run.info.users or 0)
    return 1, -float(run.info.arrival.request_rate_per_s or 0)


def ways_of(runs: Sequence[Analysis]) -> list[Way]:
    found: dict[str, list[Analysis]] = {}
    for run in runs:
        found.setdefault(way_of(run), []).append(run)
    ordered = sorted(found.items(), key=lambda item: _order(item[0], item[1][0]))
    return [Way(name, not mine[0].info.arrival.closed, tuple(mine)) for name, mine in ordered]


def states_of(run: Analysis) -> dict[int, str]:
    """Rounds in their order, named by arm, else by kind; a second one of a name by its round as well."""
    found: dict[int, str] = {}
    for entry in run.info.rounds:
        name = entry.arm or entry.kind or (COLD if entry.number == 1 else "hit")
        found[entry.number] = f"{name}, round {entry.number}" if name in found.values() else name
    return found


def is_control(state: str) -> bool:
    """Also a second one, which is named by its round as well. A control is as cold as the first round."""
    return state.partition(", round ")[0] == CONTROL


def common_states(runs: Sequence[Analysis]) -> list[str]:
    """States that every run has, in the order of the first run; BadInput where none is left to compare with."""
    every = [list(states_of(run).values()) for run in runs]
    common = [state for state in every[0] if all(state in mine for mine in every)]
    if len([state for state in common if not is_control(state)]) < 2:
        told = "; ".join(f"{run.run_id}: {', '.join(mine)}" for run, mine in zip(runs, every, strict=True))
        raise BadInput(
            f"the runs have fewer than two cache states in common ({told[:300]}); expected the same --arms or --rounds in all"
        )
    return common


def unshared_states(runs: Sequence[Analysis]) -> list[str]:
    """States that some run lacks: nothing is said of them."""
    common = common_states(runs)
    return [state for state in dict.fromkeys(name for run in runs for name in states_of(run).values()) if state not in common]


def values_of(ways: Sequence[Way], states: Sequence[str]) -> pd.DataFrame:
    """run_spread's values, with the way as the deployment and the place of the state (from 1) as the round."""
    parts = []
    for way in ways:
        for run in way.runs:
            place = {number: states.index(state) + 1 for number, state in states_of(run).items() if state in states}
            table = run_spread.run_values([run])
            parts.append(table.assign(deployment=way.name, round=table["round"].map(place)).dropna(subset=["round"]))
    found = pd.concat(parts, ignore_index=True)
    return found.astype({"round": "int64"})


def queue_ms(run: Analysis, state: str) -> float | None:
    """The servers' mean queue time per request in that state, without KV loads that they book there; None without counters."""
    number = next(number for number, name in states_of(run).items() if name == state)
    parts = [row for row in run.stats["ttft_parts"] if row["round"] == number]
    queues = [float(row["ms"]) for row in parts if row["part"] == "queue"]
    return sum(queues) if queues else None


def mean_queue_ms(way: Way, state: str) -> float | None:
    found = [queue_ms(run, state) for run in way.runs]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known and len(known) == len(found) else None


def splits(ways: Sequence[Way], states: Sequence[str]) -> list[Split]:
    """One per way and state. The parts add up to the mean TTFT: own prefill is at most that."""
    values = values_of(ways, states)
    spread = {(row["deployment"], row["round"], row["metric"]): row for row in rows_of(run_spread.spread(values))}
    changes = {(row["contender_run"], row["round"], row["metric"]): row for row in rows_of(run_spread.within(values))}
    alone = next((way for way in ways if way.name == ONE_USER), None)
    found = []
    for way in ways:
        for place, state in enumerate(states, 1):
            key, rate_key = (way.name, place, "ttft_ms"), (way.name, place, "requests_per_s")
            if key not in spread or rate_key not in spread:
                raise BadInput(f"{way.name}: no request of {state} has a TTFT; leave its runs out, or run it again")
            ttft = spread[key]
            if ttft["runs"] < len(way.runs):  # means over other runs than the change
                raise BadInput(f"{way.name}: in {len(way.runs) - ttft['runs']} of {len(way.runs)} runs no request of {state} has a TTFT; "
                               "leave those runs out, or run them again")  # fmt: skip
            own = None if alone is None else min(float(spread[(ONE_USER, place, "ttft_ms")]["mean"]), float(ttft["mean"]))
            found.append(Split(way.name, state, ttft, spread[rate_key], changes.get(key), changes.get(rate_key), own,
                               _queue_beyond(way, alone, state, own, float(ttft["mean"]))))  # fmt: skip
    return found


def _queue_beyond(way: Way, alone: Way | None, state: str, own_ms: float | None, ttft_ms: float) -> float | None:
    """Queue time beyond that of one user, and no more than the TTFT has room for."""
    if alone is None or own_ms is None:
        return None
    mine, quiet = mean_queue_ms(way, state), mean_queue_ms(alone, state)
    return None if mine is None or quiet is None else min(max(0.0, mine - quiet), ttft_ms - own_ms)


def saved(rows: Sequence[Split], way: str, state: str) -> tuple[float, float | None]:
    """Of a state against the first one: ms saved, and what one user alone saves. Not by `own_ms`, which is cut to the TTFT under load."""
    return _saved(rows, way, state) or 0.0, _saved(rows, ONE_USER, state)


def _saved(rows: Sequence[Split], way: str, state: str) -> float | None:
    first, mine = (next((row for row in rows if (row.way, row.state) == (way, name)), None) for name in (rows[0].state, state))
    return None if first is None or mine is None else first.ttft_ms - mine.ttft_ms
