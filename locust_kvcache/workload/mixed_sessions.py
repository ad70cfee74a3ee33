"""Mixes the sessions of several tenants into one sequence: each spread evenly over the whole round.

A tenant's sessions keep their order, lengths and sharing; numbers of sessions, requests and prefixes become those of the mix.
"""

from __future__ import annotations

import bisect
import dataclasses
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.turn import Session, Turn

if TYPE_CHECKING:
    from locust_kvcache.workload.plan import Plan


def even_order(counts: Sequence[int], pause: Pause = no_pause) -> array[int]:
    """Which tenant each place belongs to: the k-th of n stands at (k + 1/2) / n of the way, so that shares hold everywhere."""
    places = ((position, tenant) for position, tenant in in_pieces(_places(counts), pause))
    return array("i", (tenant for _, tenant in sorted(places)))


def _places(counts: Sequence[int]) -> Iterator[tuple[float, int]]:
    for tenant, count in enumerate(counts):
        for number in range(count):
            yield (number + 0.5) / count, tenant


class MixedSessions(LazySessions):
    """The sessions of `parts`, each a plan. `only`: the one part that is sent."""

    def __init__(self, parts: Sequence[Plan], only: int | None = None, pause: Pause = no_pause) -> None:
        self._parts = parts
        order = even_order([len(part.sessions) for part in parts], pause)
        self.everywhere = len(order)  # sessions of the whole mix
        self.positions = range(len(order)) if only is None else array("q", (k for k, t in enumerate(order) if t == only))
        self._tenant = order if only is None else array("i", [only]) * len(self.positions)
        self._inner: array[int] = array("q")  # the session's number within its tenant
        self._starts: array[int] = array("q", [0])  # the first request of each session, and the end
        self._place = [array("q") for _ in parts]  # by tenant: where its sessions stand
        for place, tenant in enumerate(in_pieces(self._tenant, pause)):
            inner = len(self._place[tenant])
            self._inner.append(inner)
            self._starts.append(self._starts[-1] + len(parts[tenant].requests_of(inner)))
            self._place[tenant].append(place)
        super().__init__(len(self._tenant), pause)

    def part_of(self, session: int) -> tuple[int, int]:
        """(tenant, number of the session within it)."""
        return self._tenant[session], self._inner[session]

    def requests_of(self, session: int) -> range:
        return range(self._starts[session], self._starts[session + 1])

    @property
    def output_tokens(self) -> int:
        return sum(part.all_output_tokens for tenant, part in enumerate(self._parts) if self._place[tenant])

    @property
    def prefixes(self) -> int:
        return sum(part.prefixes for tenant, part in enumerate(self._parts) if self._place[tenant])

    def prompts(self) -> Iterator[Sequence[int]]:
        own = [iter(part.prompts()) for part in self._parts]
        return (next(own[tenant]) for tenant in self._tenant)

    def _request(self, tenant: int, request: int) -> int:
        """A request's number in the mix."""
        part = self._parts[tenant]
        inner = bisect.bisect_right(range(len(part.sessions)), request, key=lambda k: part.requests_of(k).start) - 1
        return self._starts[self._place[tenant][inner]] + request - part.requests_of(inner).start

    def _session(self, session: int) -> Session:
        tenant, inner = self.part_of(session)
        part = self._parts[tenant]
        found = part.sessions[inner]
        turns = tuple(self._turn(tenant, session, number, turn) for number, turn in enumerate(found.turns))
        return Session(session, found.prefix_id * len(self._parts) + tenant, turns)

    def _turn(self, tenant: int, session: int, number: int, turn: Turn) -> Turn:
        source = turn.shares_prefix_with
        return dataclasses.replace(
            turn,
            request_index=self._starts[session] + number,
            session_id=session,
            shares_prefix_with=None if source is None else self._request(tenant, source),
            output_tokens=self._parts[tenant].output_tokens(turn),
        )
