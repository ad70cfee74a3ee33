"""Simulates planned requests on single servers step by step: waiting time for prefill, and end of each answer.

A step holds a token of each decoding request and the next prompt tokens in order of arrival, up to `step_tokens` together. It takes
    max(token_s(k), prefill of its prompt tokens + token_s(k) - token_s(1))
with k decoding requests, or max(step_s, prefill) with none. A step without prompt tokens takes token_s(k). Before that a request waits for
the front end, for the link that loads its cached tokens, and for a slot and room in the KV cache. docs/advise.md has the formulas.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from locust_kvcache.analysis.stats.intervals import Floats

ARRIVED, QUEUED, STEPPED = range(3)


@dataclass(frozen=True)
class EngineCosts:
    """What one plain server takes, in seconds. `token_s[i]`: of a token where `batch[i]` requests decode at once."""

    prefill_s_per_token: float
    attention_s_per_token2: float
    step_s: float
    batch: Floats
    token_s: Floats
    step_tokens: int = 8192
    slots: int = 256
    capacity_tokens: float = math.inf

    def prefill_s(self, new: Any, known: Any) -> Any:
        """Of floats, or of arrays of them."""
        return self.prefill_s_per_token * new + self.attention_s_per_token2 * new * (new + 2 * known) / 2

    def decode_s(self, decoding: int) -> float:
        return float(np.interp(decoding, self.batch, self.token_s))


@dataclass(frozen=True)
class Requests:
    """One entry per request, session by session; turns of a session wait for one another.

    `due_s`: of each session; None where a free user takes the next one. `server`: which of the servers gets the request.
    """

    session: Sequence[int]
    prompt: Floats
    cached: Floats
    output: Sequence[int]
    before_s: Floats  # network and whatever nobody else waits for
    front_s: Floats  # on the server's front end, one request after another
    load_s: Floats  # on the server's link, one after another
    wait_s: Floats  # of a later turn, after the answer before it
    server: Sequence[int]
    due_s: Floats | None = None
    users: int | None = None


@dataclass(frozen=True)
class Served:
    """In the order of the requests; `busy_s` is the computing time of all servers, `wall_s` from the first arrival to the last token."""

    arrived_s: Floats
    ttft_s: Floats
    e2e_s: Floats
    busy_s: float
    wall_s: float
    decoding: float  # requests of a server that decoded at once, on average while any did


@dataclass(slots=True)
class _Server:
    waiting: deque[int] = field(default_factory=deque)
    prefilling: deque[int] = field(default_factory=deque)
    due: list[tuple[int, int]] = field(default_factory=list)  # (tick at which its last token comes, request)
    ticks: int = 0
    held: float = 0.0
    front_free_s: float = 0.0
    link_free_s: float = 0.0
    stepping: bool = False
    began_s: float = 0.0
    token_s: float = 0.0  # of a run of steps that only decode; 0: the step prefills
    steps: int = 0
    version: int = 0
    busy_s: float = 0.0
    decoding_s: float = 0.0
    decoded_s: float = 0.0  # the same, times the requests


class _Play:
    def __init__(self, requests: Requests, costs: EngineCosts, servers: int) -> None:
        self.requests, self.costs = requests, costs
        self.count = count = len(requests.prompt)
        self.servers = [_Server() for _ in range(servers)]
        self.turns: dict[int, deque[int]] = {}
        for request, session in enumerate(requests.session):
            self.turns.setdefault(session, deque()).append(request)
        self.left = np.maximum(requests.prompt - requests.cached, 1.0)
        self.known = requests.prompt - self.left
        self.arrived_s, self.first_s, self.last_s = np.zeros(count), np.zeros(count), np.zeros(count)
        self.tables = [costs.decode_s(number) for number in range(min(costs.slots, count) + 1)]
        self.heap: list[tuple[float, int, int, Any]] = []
        self.events = 0
        self.sessions = deque(self.turns)
        self._begin()

    def _begin(self) -> None:
        due_s, users = self.requests.due_s, self.requests.users
        if due_s is None:
            for _ in range(min(users or 1, len(self.sessions))):
                self._next_session(0.0)
        else:
            for session in self.sessions:
                self._at(float(due_s[session]), ARRIVED, self.turns[session].popleft())

    def _next_session(self, at_s: float) -> None:
        self._at(at_s, ARRIVED, self.turns[self.sessions.popleft()].popleft())

    def _at(self, at_s: float, kind: int, what: Any) -> None:
        self.events += 1
        heapq.heappush(self.heap, (at_s, self.events, kind, what))

    def play(self) -> None:
        steps: dict[int, Callable[[float, Any], None]]
        steps = {ARRIVED: self._arrive, QUEUED: self._queue, STEPPED: self._stepped}
        while self.heap:
            at_s, _, kind, what = heapq.heappop(self.heap)
            steps[kind](at_s, what)

    def _arrive(self, at_s: float, request: int) -> None:
        self.arrived_s[request] = at_s
        server = self.servers[self.requests.server[request]]
        front_s, load_s = float(self.requests.front_s[request]), float(self.requests.load_s[request])
        ready_s = server.front_free_s = max(server.front_free_s, at_s) + front_s
        ready_s += float(self.requests.before_s[request])
        if load_s:
            ready_s = server.link_free_s = max(server.link_free_s, ready_s) + load_s
        self._at(ready_s, QUEUED, request)

    def _queue(self, at_s: float, request: int) -> None:
        server = self.servers[self.requests.server[request]]
        server.waiting.append(request)
        if not server.stepping:
            self._step(at_s, server)
        elif server.token_s:  # decodes alone: the prompt joins at the end of the step that is under way
            done = min(server.steps, max(1, math.ceil((at_s - server.began_s) / server.token_s - 1e-9)))
            self._plan(server, done, server.began_s + done * server.token_s, ())

    def _plan(self, server: _Server, steps: int, end_s: float, whole: Sequence[int]) -> None:
        server.steps, server.version = steps, server.version + 1
        self._at(end_s, STEPPED, (server, server.version, tuple(whole)))

    def _admit(self, server: _Server) -> bool:
        """Whether the first that waits gets a slot and its room; a prompt that is too long for the cache gets it alone."""
        request = server.waiting[0]
        needed = float(self.requests.prompt[request] + self.requests.output[request])
        running = len(server.prefilling) + len(server.due)
        if running >= self.costs.slots or (running and server.held + needed > self.costs.capacity_tokens):
            return False
        server.held += needed
        server.prefilling.append(server.waiting.popleft())
        return True

    def _step(self, at_s: float, server: _Server) -> None:
        """Plan the next step: a part of each prompt in turn while there is room."""
        decoding, costs = len(server.due), self.costs
        room, compute_s, whole, place = float(costs.step_tokens - decoding), 0.0, [], 0
        while room > 0 and (place < len(server.prefilling) or (server.waiting and self._admit(server))):
            request = server.prefilling[place]
            new = min(room, self.left[request])
            compute_s += costs.prefill_s(new, self.known[request])
            self.left[request] -= new
            self.known[request] += new
            room -= new
            place += 1
            if self.left[request] <= 0:
                whole.append(request)
        server.stepping, server.began_s = bool(place or decoding), at_s
        if place:
            server.token_s = 0.0
            token_s, alone_s = self.tables[decoding], self.tables[min(1, len(self.tables) - 1)]
            takes_s = max(token_s, compute_s + token_s - alone_s) if decoding else max(costs.step_s, compute_s)
            self._plan(server, 1, at_s + takes_s, whole)
        elif decoding:
            server.token_s = self.tables[decoding]
            steps = server.due[0][0] - server.ticks
            self._plan(server, steps, at_s + steps * server.token_s, ())

    def _stepped(self, at_s: float, what: tuple[_Server, int, tuple[int, ...]]) -> None:
        server, version, whole = what
        if version != server.version:
            return
        passed_s, decoding = at_s - server.began_s, len(server.due)
        server.busy_s += passed_s
        server.decoding_s += passed_s * (decoding > 0)
        server.decoded_s += passed_s * decoding
        server.ticks += server.steps
        while server.due and server.due[0][0] <= server.ticks:
            self._end(at_s, server, heapq.heappop(server.due)[1])
        for request in whole:
            server.prefilling.remove(request)
            self.first_s[request] = at_s
            if self.requests.output[request] > 1:
                heapq.heappush(server.due, (server.ticks + int(self.requests.output[request]) - 1, request))
            else:
                self._end(at_s, server, request)
        self._step(at_s, server)

    def _end(self, at_s: float, server: _Server, request: int) -> None:
        requests = self.requests
        self.last_s[request] = at_s
        server.held -= float(requests.prompt[request] + requests.output[request])
        turns = self.turns[requests.session[request]]
        if turns:
            self._at(at_s + float(requests.wait_s[turns[0]]), ARRIVED, turns.popleft())
        elif requests.due_s is None and self.sessions:
            self._next_session(at_s)


def serve(requests: Requests, costs: EngineCosts, servers: int = 1) -> Served:
    """From the first arrival to the last token, ramp and tail included, as a load generator has it."""
    play = _Play(requests, costs, servers)
    play.play()
    return Served(
        arrived_s=play.arrived_s,
        ttft_s=play.first_s - play.arrived_s,
        e2e_s=play.last_s - play.arrived_s,
        busy_s=sum(server.busy_s for server in play.servers),
        wall_s=float(play.last_s.max() - play.arrived_s.min()),
        decoding=sum(server.decoded_s for server in play.servers) / max(1e-9, sum(server.decoding_s for server in play.servers)),
    )
