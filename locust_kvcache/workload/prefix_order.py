"""Decides which prefix each session uses: in turns, in blocks, or drawn by popularity."""

from __future__ import annotations

import itertools
import math
import random
from array import array
from dataclasses import dataclass
from typing import Protocol

from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import PIECE, Pause, in_pieces


class PrefixOrder(Protocol):
    """Which prefix each session uses."""

    def of(self, session: int) -> int: ...
    def first(self, prefix: int) -> int:
        """The first session that uses it."""

    def used(self, sessions: int) -> int:
        """Different ones that so many sessions use."""


@dataclass(frozen=True)
class Cycle:
    """0 1 2 0 1 2 ..."""

    prefixes: int

    def of(self, session: int) -> int:
        return session % self.prefixes

    def first(self, prefix: int) -> int:
        return prefix

    def used(self, sessions: int) -> int:
        return min(sessions, self.prefixes)


@dataclass(frozen=True)
class Blocks:
    """0 0 0 1 1 1 ...: so many prefixes for so many sessions."""

    prefixes: int
    sessions: int

    def of(self, session: int) -> int:
        return session * self.prefixes // self.sessions

    def first(self, prefix: int) -> int:
        return -(-prefix * self.sessions // self.prefixes)

    def used(self, sessions: int) -> int:
        return min(sessions, self.of(sessions - 1) + 1)


class Drawn:
    """By popularity: the k-th of N documents with a share of k^-zipf / sum of j^-zipf, j = 1 ... N."""

    def __init__(self, scenario: Scenario, sessions: int, seed: int, pause: Pause) -> None:
        weights = list(itertools.accumulate(rank**-scenario.zipf for rank in range(1, scenario.documents + 1)))
        rng, choices = random.Random(f"{seed}/{scenario.name}/popularity"), range(scenario.documents)
        self._of = array("i")
        while left := sessions - len(self._of):
            self._of.extend(rng.choices(choices, cum_weights=weights, k=min(left, PIECE)))
            pause()
        self._first: dict[int, int] = {}
        for session, prefix in enumerate(in_pieces(self._of, pause)):
            self._first.setdefault(prefix, session)

    def of(self, session: int) -> int:
        return self._of[session]

    def first(self, prefix: int) -> int:
        return self._first[prefix]

    def used(self, sessions: int) -> int:
        return len(self._first)


def prefix_order(scenario: Scenario, sessions: int, seed: int, pause: Pause) -> PrefixOrder:
    interleaved = scenario.order == "interleaved"
    if scenario.corpus is not None and not scenario.zipf:
        return Cycle(scenario.documents) if interleaved else Blocks(scenario.documents, sessions)
    if scenario.documents:
        return Drawn(scenario, sessions, seed, pause)
    shared_by = scenario.prefix_shared_by or sessions
    return Cycle(math.ceil(sessions / shared_by)) if interleaved else Blocks(1, shared_by)
