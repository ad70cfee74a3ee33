"""Chooses the engine of a request in a fleet, by the policies of common routers.

The prefix policy works as cache_aware does in vllm-router and sglang-router: it remembers which text it sent where, and knows nothing
of what the engines really hold. Session is their consistent hash: requests without a session header all have the same key.
"""

from __future__ import annotations

import bisect
import hashlib
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

POLICIES = {
    "round_robin": "in turn",
    "prefix": "the engine that got the longest matching prefix before, unless the load is uneven (cache_aware)",
    "random": "random, seeded",
    "least_loaded": "the engine with the fewest open requests",
    "token": "the engine that x-session-token names; every answer has that header; requests without it go in turn (llm-d's session "
    "affinity)",
    "session": "consistent hash of x-session-id; without the header all requests go to one engine (consistent_hash)",
}
PIECE_CHARACTERS = 64
REMEMBERED_PIECES = 400_000  # about 100 MB
POINTS_PER_ENGINE = 160


@dataclass(frozen=True)
class Guard:
    """When the prefix policy does not follow the prefix; vllm-router's option names and defaults."""

    cache_threshold: float = 0.3
    balance_abs_threshold: int = 64
    balance_rel_threshold: float = 1.5

    def uneven(self, open_requests: Sequence[int]) -> bool:
        most, least = max(open_requests), min(open_requests)
        return most - least > self.balance_abs_threshold and most > self.balance_rel_threshold * least


class Policy(Protocol):
    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        """The engine's index. `open_requests` has one entry per engine."""
        ...


@dataclass
class RoundRobin:
    sent: int = 0

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        self.sent += 1
        return (self.sent - 1) % len(open_requests)


@dataclass
class Random:
    generator: random.Random = field(default_factory=lambda: random.Random(0))

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        return self.generator.randrange(len(open_requests))


@dataclass
class LeastLoaded:
    """Equal loads are taken in turn."""

    turns: int = 0

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        count = len(open_requests)
        self.turns += 1
        return min(range(count), key=lambda index: (open_requests[index], (index - self.turns + 1) % count))


@dataclass
class Session:
    rings: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        ring = self.rings.setdefault(len(open_requests), _ring(len(open_requests)))
        return ring[bisect.bisect_left(ring, (_point(session), 0)) % len(ring)][1]


@dataclass
class Token:
    sent: int = 0

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        if session.isdecimal() and int(session) < len(open_requests):
            return int(session)
        self.sent += 1
        return (self.sent - 1) % len(open_requests)


def _point(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _ring(engines: int) -> list[tuple[int, int]]:
    return sorted((_point(f"{engine}/{point}"), engine) for engine in range(engines) for point in range(POINTS_PER_ENGINE))


@dataclass
class Prefix:
    guard: Guard
    sent: OrderedDict[bytes, set[int]] = field(default_factory=OrderedDict)  # piece of text -> engines that got it
    pieces: dict[int, int] = field(default_factory=dict)  # engine -> pieces that it has been sent
    requests: dict[int, int] = field(default_factory=dict)

    def choose(self, text: str, session: str, open_requests: Sequence[int]) -> int:
        pieces = _pieces(text)
        matched = self._matched(pieces, len(open_requests))
        best, every = max(matched), range(len(open_requests))
        wanted: Sequence[int] = every
        follow = not self.guard.uneven(open_requests)  # otherwise the least loaded of all
        if follow and pieces and best / len(pieces) > self.guard.cache_threshold:
            wanted = [index for index in every if matched[index] == best]
        elif follow:
            least = min(self.pieces.get(index, 0) for index in every)
            wanted = [index for index in every if self.pieces.get(index, 0) == least]
        chosen = min(wanted, key=lambda index: (open_requests[index], self.requests.get(index, 0)))
        self.requests[chosen] = self.requests.get(chosen, 0) + 1
        self._remember(pieces, chosen)
        return chosen

    def _matched(self, pieces: Sequence[bytes], engines: int) -> list[int]:
        matched = [0] * engines
        for number, piece in enumerate(pieces, start=1):
            holders = [index for index in self.sent.get(piece, ()) if matched[index] == number - 1]
            for index in holders:
                matched[index] = number
            if not holders:
                break
        return matched

    def _remember(self, pieces: Sequence[bytes], engine: int) -> None:
        for piece in pieces:
            engines = self.sent.setdefault(piece, set())
            self.pieces[engine] = self.pieces.get(engine, 0) + (engine not in engines)
            engines.add(engine)
            self.sent.move_to_end(piece)
        while len(self.sent) > REMEMBERED_PIECES:
            for index in self.sent.popitem(last=False)[1]:
                self.pieces[index] -= 1


def _pieces(text: str) -> list[bytes]:
    """One hash per whole piece of the text, each over everything before it."""
    parent, found = b"", []
    for end in range(PIECE_CHARACTERS, len(text) + 1, PIECE_CHARACTERS):
        parent = hashlib.blake2b(parent + text[end - PIECE_CHARACTERS : end].encode(), digest_size=16).digest()
        found.append(parent)
    return found


def text_of(body: Any) -> str:
    """What a router sees of a prompt: the text, before any tokenizer."""
    if not isinstance(body, dict):
        return ""
    messages = body.get("messages") or body.get("input")
    if isinstance(messages, list):
        first = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return "\n".join(f"{one.get('role')}\n{one.get('content')}" for one in [*first, *messages] if isinstance(one, dict))
    prompt = body.get("prompt") or messages or body.get("token_ids")
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt)) if isinstance(prompt, list) else ""


def make_policy(name: str, guard: Guard) -> Policy:
    if name == "prefix":
        return Prefix(guard)
    policies: dict[str, type[RoundRobin | Random | LeastLoaded | Session | Token]]
    policies = {"round_robin": RoundRobin, "random": Random, "least_loaded": LeastLoaded, "session": Session, "token": Token}
    return policies[name]()
