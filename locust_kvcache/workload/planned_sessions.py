"""Makes the sessions of a plan one by one when they are asked for.

Lengths are drawn in plan order, so they are kept (4 bytes a request); who shares a prefix with whom is computed. Drawing many takes a
while: `pause` is called every few milliseconds, so that an event loop can go on.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Iterator, Sequence

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.dose_response import cells, turn_sizes
from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.prefix_order import prefix_order
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.turn import Session, Turn
from locust_kvcache.workload.waits import NO_WAITS

MOST_REQUESTS = 50_000_000
BYTES_PER_REQUEST = 40  # measured on a master at 10,000,000


class TurnLengths:
    """User tokens of each turn, output tokens where the scenario draws them, and where each session's turns begin."""

    def __init__(self, scenario: Scenario, seed: int, pause: Pause) -> None:
        self.requests = scenario.requests
        self._turns = scenario.turns
        self._starts: array[int] | None = None  # where sessions are of different length by design
        self.user: array[int] = array("i")
        if scenario.doses is not None:
            self._by_dose(scenario, seed, pause)
        else:
            rng = random.Random(f"{seed}/{scenario.name}/sizes")
            lengths, (low, high) = scenario.turn_lengths, scenario.turn_tokens
            self._draw(self.user, lambda: lengths.draw(rng) if lengths else rng.randint(low, high), pause)
        self.output: array[int] | None = None
        if scenario.output_lengths is not None:
            drawn, output_rng = scenario.output_lengths, random.Random(f"{seed}/{scenario.name}/outputs")
            self.output = self._draw(array("i"), lambda: drawn.draw(output_rng), pause)

        self.wait_s = self._waits(scenario, seed, pause) if scenario.turns > 1 else None

    def _waits(self, scenario: Scenario, seed: int, pause: Pause) -> array[float] | None:
        """Before each request; None: nobody waits."""
        if scenario.think_time == NO_WAITS:
            return None
        rng, found = random.Random(f"{seed}/{scenario.name}/think"), array("d", bytes(8 * self.requests))
        for session in in_pieces(range(self.sessions), pause):
            start = self.start(session)
            for number in range(2, self.start(session + 1) - start + 1):
                found[start + number - 1] = scenario.gaps.of(scenario.think_time.draw(number, rng))
        return found

    def _draw(self, into: array[int], draw: Callable[[], int], pause: Pause) -> array[int]:
        for _ in in_pieces(range(self.requests), pause):
            into.append(draw())
        return into

    def _by_dose(self, scenario: Scenario, seed: int, pause: Pause) -> None:
        assert scenario.doses is not None
        self._starts = array("i", [0])
        for cell in in_pieces(cells(scenario.doses, f"{seed}/{scenario.name}/doses"), pause):
            sizes = turn_sizes(cell, scenario.prefix_tokens, scenario.output_tokens)
            self.user.extend(sizes[: self.requests - len(self.user)])
            self._starts.append(len(self.user))
            if len(self.user) == self.requests:
                break

    @property
    def sessions(self) -> int:
        return math.ceil(self.requests / self._turns) if self._starts is None else len(self._starts) - 1

    def start(self, session: int) -> int:
        """The request_index of a session's first turn; the last session is shorter if the requests run out."""
        return min(session * self._turns, self.requests) if self._starts is None else self._starts[session]


class PlannedSessions(LazySessions):
    """All sessions of one scenario. `prefix_tokens` by prefix, or one number for all."""

    def __init__(
        self, scenario: Scenario, seed: int, prefix_tokens: int | Sequence[int], own_end_tokens: int = 0, pause: Pause = no_pause
    ) -> None:
        if scenario.requests > MOST_REQUESTS:
            raise BadInput(
                f"scenario {scenario.name}: {scenario.requests:,} requests in a round would take about "
                f"{scenario.requests * BYTES_PER_REQUEST / 1e9:,.0f} GB in each process; plan at most {MOST_REQUESTS:,}, in several runs"
            )
        self._scenario = scenario
        self._prefix_tokens = prefix_tokens
        self._own_end_tokens = own_end_tokens  # of a prefix: what no other session's prompt shares
        self._lengths = TurnLengths(scenario, seed, pause)
        super().__init__(self._lengths.sessions, pause)
        self._prefixes = prefix_order(scenario, self._count, seed, pause)
        self._firsts = self._first_by_salt(pause) if scenario.identity.salts_apart else None

    def _first_by_salt(self, pause: Pause) -> dict[tuple[int, int], int]:
        """By prefix and salt: the first session that uses them. Prefixes under different salts share nothing."""
        found: dict[tuple[int, int], int] = {}
        for session in in_pieces(range(self._count), pause):
            found.setdefault((self._prefixes.of(session), self._scenario.identity.salt_group(session)), session)
        return found

    def _first(self, session: int, prefix: int) -> int:
        """The first session that brings what this one shares."""
        if self._firsts is None:
            return self._prefixes.first(prefix)
        return self._firsts[prefix, self._scenario.identity.salt_group(session)]

    def requests_of(self, session: int) -> range:
        """The request_index of each of its turns."""
        return range(self._lengths.start(session), self._lengths.start(session + 1))

    @property
    def output_tokens(self) -> int:
        """Of all requests together."""
        drawn = self._lengths.output
        return len(self._lengths.user) * self._scenario.output_tokens if drawn is None else sum(drawn)

    @property
    def prefixes(self) -> int:
        """Different ones that are used; under another salt it is another one."""
        return self._prefixes.used(self._count) if self._firsts is None else len(self._firsts)

    def prompts(self) -> Iterator[Sequence[int]]:
        """The planned prompt tokens of each turn, session by session, without making the sessions."""
        scenario = self._scenario
        if scenario.turns == 1 and scenario.doses is None and isinstance(self._prefix_tokens, int):
            prefix_tokens = self._prefix_tokens
            return in_pieces(((prefix_tokens + user_tokens,) for user_tokens in self._lengths.user), self._pause)
        return in_pieces(map(self._prompts, range(self._count)), self._pause)

    def _tokens_of_prefix(self, prefix: int) -> int:
        return self._prefix_tokens if isinstance(self._prefix_tokens, int) else self._prefix_tokens[prefix]

    def _answered(self, request: int) -> int:
        return self._lengths.output[request] if self._lengths.output is not None else self._scenario.output_tokens

    def _prompts(self, session: int) -> list[int]:
        """A turn carries the turn before it and its answer."""
        prompt, prompts = self._tokens_of_prefix(self._prefixes.of(session)), list[int]()
        for request in self.requests_of(session):
            prompt += self._lengths.user[request] + (self._answered(request - 1) if prompts else 0)
            prompts.append(prompt)
        return prompts

    def _session(self, session: int) -> Session:
        """Turn 1 shares its prefix with the first session on it, turn k shares turn k-1's whole prompt."""
        requests, scenario, output = self.requests_of(session), self._scenario, self._lengths.output
        prefix, waits = self._prefixes.of(session), self._lengths.wait_s
        estimated, reply_is_cached = scenario.corpus is not None, scenario.reply == "server"
        turns: list[Turn] = []
        for number, (request, prompt) in enumerate(zip(requests, self._prompts(session), strict=True), 1):
            if turns:
                shared = turns[-1].prompt_tokens + (self._answered(request - 1) if reply_is_cached else 0)
                source: int | None = request - 1
            else:
                source = self._lengths.start(self._first(session, prefix))
                shared = self._tokens_of_prefix(prefix) - self._own_end_tokens
                if source == request:
                    shared, source = 0, None
            output_tokens = output[request] if output is not None else None
            turns.append(
                Turn(
                    request,
                    session,
                    number,
                    self._lengths.user[request],
                    prompt,
                    shared,
                    source,
                    output_tokens,
                    wait_s=waits[request] if waits is not None else 0.0,
                    estimated=estimated,
                )
            )
        return Session(session, prefix, tuple(turns))
