"""Holds the demand on the servers: the planned requests of a trace or scenario, their arrival times, and their shared prefixes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.cache import ideal_caches
from locust_kvcache.analysis.stats.intervals import Floats
from locust_kvcache.workload.plan import Plan

COLUMNS = ["request_index", "session", "prompt_tokens", "output_tokens", "shares_prefix_with", "shared_tokens", "wait_s"]


@dataclass(frozen=True)
class Demand:
    """`requests`: one row per request of a round, session by session. Rounds after the first repeat it; figures are of the last one.

    `due_s`: of each session, by a trace. Else `users` take one session after another, or sessions come at `rate_per_s`.
    """

    name: str
    requests: pd.DataFrame
    rounds: int = 1
    due_s: Floats | None = None
    users: int | None = None
    rate_per_s: float | None = None
    notes: tuple[str, ...] = ()
    doubt: str | None = None  # of the unit of a trace's times, on which TTFT and cost depend

    @property
    def prompt_tokens(self) -> float:
        return float(self.requests["prompt_tokens"].sum())

    @property
    def load_text(self) -> str:
        if self.due_s is not None:
            return "at its own times"
        return f"{self.rate_per_s:g} sessions/s" if self.rate_per_s is not None else plural(self.users or 0, "user")

    def starts_s(self, seed: int) -> Floats | None:
        """When each session begins; None in a closed loop."""
        if self.rate_per_s is None:
            return self.due_s
        gaps = np.random.default_rng(seed).exponential(1 / self.rate_per_s, self.requests["session"].nunique())
        return np.asarray(np.cumsum(gaps), dtype=np.float64)


def requests_of(plan: Plan) -> pd.DataFrame:
    """COLUMNS of each planned request, in the order of the plan."""
    rows = [
        (turn.request_index, place, turn.prompt_tokens, plan.output_tokens(turn),
         turn.shares_prefix_with, turn.shared_tokens, turn.wait_s)
        for place, session in enumerate(plan.sessions) for turn in session.turns
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).astype({"shares_prefix_with": "float64", "prompt_tokens": "float64"})


def as_records(demand: Demand, order: Floats, block: int) -> pd.DataFrame:
    """The requests of all rounds in the columns of records, which the simulated caches read; `order`: when each is sent in its round."""
    one = demand.requests.assign(
        scenario=demand.name, planned_cached_tokens=demand.requests["shared_tokens"] // block * block, started_at_s=order
    )
    length = float(np.max(order)) + 1.0
    rounds = [one.assign(round=number, started_at_s=order + (number - 1) * length) for number in range(1, demand.rounds + 1)]
    return pd.concat(rounds, ignore_index=True)


MOST_TOUCHES = 400_000  # blocks over all requests, from which a simulation of each size would be slow


@dataclass(frozen=True)
class Blocks:
    """The requests of all rounds with their blocks; `replica` is the server that each of them goes to."""

    records: pd.DataFrame
    chains: dict[tuple[str, int], list[int]]
    block: int
    replica: np.ndarray
    count: int  # of requests of a round
    known: dict[tuple[float, bool], Floats] = field(default_factory=dict)  # what was simulated already

    @property
    def last_replica(self) -> np.ndarray:
        """Of the requests of the last round."""
        return self.replica[-self.count :]

    @property
    def working_set_tokens(self) -> int:
        """Different blocks, prompts and answers, in tokens."""
        return len({number for chain in self.chains.values() for number in chain}) * self.block

    def cached(self, capacity_tokens: float, shared: bool = False) -> Floats:
        """Of each request of the last round, the tokens that an LRU cache holds: each replica's own, or one that all share."""
        key = capacity_tokens, shared or not self.replica.any()
        if key not in self.known:
            self.known[key] = self._simulated(*key)
        return self.known[key]

    def _simulated(self, capacity_tokens: float, shared: bool) -> Floats:
        where = np.zeros_like(self.replica) if shared else self.replica
        begins = len(self.records) - self.count
        found = np.zeros(self.count)
        for one in np.unique(where):
            mine = self.records[where == one]
            held = ideal_caches.lru_tokens(mine, self.chains, int(min(capacity_tokens, 1e15)), self.block)["ideal_tokens"]
            last = held[held.index >= begins]
            found[last.index.to_numpy() - begins] = last.to_numpy()
        return found


def blocks_of(demand: Demand, order: Floats, block: int) -> Blocks:
    """Of one server; with larger blocks where there would be more than MOST_TOUCHES: a hit is then cut to whole ones of those."""
    tokens = float((demand.requests["prompt_tokens"] + demand.requests["output_tokens"]).sum()) * demand.rounds
    while tokens / block > MOST_TOUCHES:
        block *= 2
    records = as_records(demand, order, block)
    one = np.zeros(len(records), dtype=np.int64)
    return Blocks(records, ideal_caches.chains(records, block), block, one, len(demand.requests))
