"""Simulates x prefillers and y decoders event by event: a queue at each prefiller, a hand-off, and batches that decode.

A prefiller computes in steps: prompts in order of arrival, as many as fit; those that are whole at its end go on. A decoder decodes all
of its requests at once: with k of them a token of each takes token_s(k), so each request's progress is a clock that runs at
1 / token_s(k) (processor sharing with a rate that depends on the state; Kleinrock, "Queueing Systems" II, 4.4). docs/ratio.md has the
formulas and the sources.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from locust_kvcache.analysis.stats.intervals import Floats

ROUND_ROBIN, LEAST_LOADED = "round_robin", "least_loaded"
ROUTINGS = (ROUND_ROBIN, LEAST_LOADED)
NOTHING = 1e-9
JOINS_STEP = 0.5  # of a running step passes on average until a new request is in the batch


@dataclass(frozen=True)
class Split:
    prefillers: int
    decoders: int

    @property
    def name(self) -> str:
        return f"{self.prefillers}P{self.decoders}D"


@dataclass(frozen=True)
class Load:
    """`users` that send their next request when the last answer has ended, or Poisson arrivals at `rate_per_s`."""

    requests: int
    users: int | None = None
    rate_per_s: float | None = None


@dataclass(frozen=True)
class Costs:
    """What one request costs, in seconds. `token_s[i]` is the time of a token where `batch[i]` requests decode at once."""

    prefill_s: Floats  # drawn from, one per request: how long the prefiller is busy with it
    delay_s: float  # beside it, without keeping the prefiller busy: front end, proxy, hand-off
    batch: Floats  # increasing
    token_s: Floats
    output_tokens: int
    most: float = 1.0  # requests that decoded at once while it was measured
    step_prompts: float = 1.0  # prompts that a prefiller's step has room for; less than 1: a prompt takes several steps
    link_s: float = 0.0  # how long the hand-off keeps the decoder's link busy

    def token(self, decoding: float) -> float:
        """Between measured batch sizes a straight line; outside of them the nearest one."""
        return float(np.interp(decoding, self.batch, self.token_s))


@dataclass(frozen=True)
class Played:
    """One value per request, in order of completion."""

    ttft_s: Floats
    e2e_s: Floats
    wall_s: float
    prefill_busy: float  # share of the time, mean of all prefillers
    batch_mean: float  # requests of a decoder that decodes
    beyond: float  # share of the decoders' busy time with a larger batch than was measured

    @property
    def requests_per_s(self) -> float:
        return len(self.e2e_s) / self.wall_s


@dataclass(slots=True)
class _Decoder:
    tokens: float = 0.0  # that each of its requests would have got since the beginning
    at_s: float = 0.0
    active: int = 0
    due: list[tuple[float, int, bool]] = field(default_factory=list)  # (tokens, request, its last)
    version: int = 0  # of its next event; older ones are void
    link_free_s: float = 0.0
    busy_s: float = 0.0
    batch_s: float = 0.0
    beyond_s: float = 0.0


@dataclass(slots=True)
class _Prefiller:
    waiting: deque[list[float]] = field(default_factory=deque)  # [request, share of its prompt that is left]
    stepping: bool = False
    free_s: float = 0.0  # when it will have worked off what is there now


ARRIVED, STEPPED, PREFILLED, READY, DUE = range(5)


class _Simulation:
    def __init__(self, split: Split, load: Load, costs: Costs, seed: int, routing: str) -> None:
        self.load, self.costs, self.routing = load, costs, routing
        rng = np.random.default_rng(seed)
        self.service_s = rng.choice(costs.prefill_s, load.requests)
        self.prefillers = [_Prefiller() for _ in range(split.prefillers)]
        self.decoders = [_Decoder() for _ in range(split.decoders)]
        largest = load.users if load.users is not None else load.requests
        self.token_s = np.interp(np.arange(min(largest, load.requests) + 1), costs.batch, costs.token_s).tolist()
        self.heap: list[tuple[float, int, int, Any]] = []
        self.count = self.sent = 0
        self.arrived_s = np.zeros(load.requests)
        self.first_s, self.last_s = np.zeros(load.requests), np.zeros(load.requests)
        if load.users is not None:
            for _ in range(min(load.users, load.requests)):
                self._at(0.0, ARRIVED, self._next())
        else:
            for at_s in np.cumsum(rng.exponential(1 / float(load.rate_per_s or 0), load.requests)):
                self._at(float(at_s), ARRIVED, self._next())

    def _next(self) -> int:
        self.sent += 1
        return self.sent - 1

    def _at(self, at_s: float, kind: int, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.heap, (at_s, self.count, kind, what))

    def play(self) -> None:
        steps: dict[int, Callable[[float, Any], None]]
        steps = {ARRIVED: self._arrive, STEPPED: self._stepped, PREFILLED: self._hand_off, READY: self._join, DUE: self._due}
        while self.heap:
            at_s, _, kind, what = heapq.heappop(self.heap)
            steps[kind](at_s, what)

    def _arrive(self, at_s: float, request: int) -> None:
        chosen = self.prefillers[request % len(self.prefillers)]
        if self.routing == LEAST_LOADED:
            chosen = min(self.prefillers, key=lambda prefiller: prefiller.free_s)
        self.arrived_s[request] = at_s
        chosen.free_s = max(chosen.free_s, at_s) + self.service_s[request]
        chosen.waiting.append([request, 1.0])
        if not chosen.stepping:
            self._step(at_s, chosen)

    def _step(self, at_s: float, prefiller: _Prefiller) -> None:
        """Plan what the next step computes: whole prompts while there is room, and a part of the next one."""
        room, takes_s = self.costs.step_prompts, 0.0
        whole = []
        waiting = prefiller.waiting
        while waiting and room > NOTHING:
            request, left = int(waiting[0][0]), waiting[0][1]
            part = min(left, room)
            room, takes_s = room - part, takes_s + part * self.service_s[request]
            if part < left:
                waiting[0][1] -= part
            else:
                whole.append(int(waiting.popleft()[0]))
        prefiller.stepping = takes_s > 0 or bool(whole)
        if prefiller.stepping:
            self._at(at_s + takes_s, STEPPED, (prefiller, whole))

    def _stepped(self, at_s: float, what: tuple[_Prefiller, list[int]]) -> None:
        prefiller, whole = what
        for request in whole:
            self._at(at_s, PREFILLED, request)
        self._step(at_s, prefiller)

    def _hand_off(self, at_s: float, request: int) -> None:
        decoders = self.decoders
        chosen = request % len(decoders)
        if self.routing == LEAST_LOADED:
            chosen = min(range(len(decoders)), key=lambda index: decoders[index].active)
        link = decoders[chosen]
        link.link_free_s = max(link.link_free_s, at_s) + self.costs.link_s
        self._at(link.link_free_s + self.costs.delay_s, READY, (request, chosen))

    def _advance(self, decoder: _Decoder, at_s: float) -> None:
        passed_s, decoder.at_s = at_s - decoder.at_s, at_s
        if decoder.active:
            decoder.tokens += passed_s / self.token_s[decoder.active]
            decoder.busy_s += passed_s
            decoder.batch_s += passed_s * decoder.active
            decoder.beyond_s += passed_s * (decoder.active > self.costs.most)

    def _plan(self, index: int) -> None:
        decoder = self.decoders[index]
        decoder.version += 1
        if decoder.due:
            left = max(0.0, decoder.due[0][0] - decoder.tokens)
            self._at(decoder.at_s + left * self.token_s[decoder.active], DUE, (index, decoder.version))

    def _join(self, at_s: float, what: tuple[int, int]) -> None:
        request, index = what
        decoder = self.decoders[index]
        self._advance(decoder, at_s)
        begins = decoder.tokens + (JOINS_STEP if decoder.active else 0.0)
        decoder.active += 1
        if self.costs.output_tokens > 1:
            heapq.heappush(decoder.due, (begins + 1, request, False))
        heapq.heappush(decoder.due, (begins + self.costs.output_tokens, request, True))
        self._plan(index)

    def _due(self, at_s: float, what: tuple[int, int]) -> None:
        index, version = what
        decoder = self.decoders[index]
        if version != decoder.version:
            return
        self._advance(decoder, at_s)
        tokens, request, is_last = heapq.heappop(decoder.due)
        decoder.tokens = max(decoder.tokens, tokens)  # no rounding error is carried on
        if not is_last or self.costs.output_tokens == 1:
            self.first_s[request] = at_s
        if is_last:
            self.last_s[request] = at_s
            decoder.active -= 1
            if self.load.users is not None and self.sent < self.load.requests:
                self._at(at_s, ARRIVED, self._next())
        self._plan(index)

    def outcome(self) -> Played:
        wall_s = float(self.last_s.max())
        busy_s = sum(decoder.busy_s for decoder in self.decoders)
        return Played(
            ttft_s=self.first_s - self.arrived_s,
            e2e_s=self.last_s - self.arrived_s,
            wall_s=wall_s,
            prefill_busy=float(self.service_s.sum()) / (len(self.prefillers) * wall_s),
            batch_mean=sum(decoder.batch_s for decoder in self.decoders) / busy_s,
            beyond=sum(decoder.beyond_s for decoder in self.decoders) / busy_s,
        )


def play(split: Split, load: Load, costs: Costs, seed: int, routing: str = ROUND_ROBIN) -> Played:
    """One run from its first request to its last answer, ramp and tail included, as a load generator has it."""
    simulation = _Simulation(split, load, costs, seed, routing)
    simulation.play()
    return simulation.outcome()
