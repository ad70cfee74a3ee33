"""Plans prompts that hold retrieved chunks of documents in changing order, and says how much of them a prefix cache can find.

A chunk behind other chunks than before is a new prefix: a prefix cache finds what is equal from the start, and no more. Caches that
reuse chunks wherever they stand (LMCache's CacheBlend) would find every chunk that was sent before.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import Section
from locust_kvcache.workload.text import KINDS
from locust_kvcache.workload.turn import Session, Turn

SHUFFLED = "shuffled"
ORDERS = (SHUFFLED, "fixed")
SMALLEST_TOKENS = 16


@dataclass(frozen=True)
class Chunks:
    """`per_prompt` of `count` chunks stand before each question; the k-th is drawn with a share of k^-zipf. `order` fixed: by number."""

    count: int
    tokens: int
    per_prompt: int
    text: str = "document"
    zipf: float = 0.0
    order: str = SHUFFLED

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Chunks | None:
        return cls(**values) if values is not None else None

    def draw(self, rng: random.Random) -> tuple[int, ...]:
        """Different ones: the largest of u^(1 / weight) with even u are a draw without putting back (Efraimidis and Spirakis)."""
        keys = [rng.random() ** ((rank + 1) ** self.zipf) for rank in range(self.count)]
        found = sorted(range(self.count), key=keys.__getitem__, reverse=True)[: self.per_prompt]
        return tuple(sorted(found) if self.order == "fixed" else found)


@dataclass(frozen=True)
class ChunkReuse:
    """Of one round, in tokens: what was sent before from the start of a prompt, and what was sent before at all."""

    prompt_tokens: int
    prefix_tokens: int
    anywhere_tokens: int

    @property
    def sentence(self) -> str:
        prefix, anywhere = (100 * n / self.prompt_tokens for n in (self.prefix_tokens, self.anywhere_tokens))
        return (
            f"chunks change their order, so a prefix cache can find {prefix:.1f} % of a round's prompt tokens; a cache that reuses chunks "
            f"at any position (LMCache's CacheBlend) could find {anywhere:.1f} %"
        )


def parse_chunks(top: Section) -> Chunks | None:
    if top.raw("chunks") is None:
        return None
    given = top.section("chunks")
    count = given.take("count", int, low=1)
    found = Chunks(
        count,
        given.take("tokens", int, low=SMALLEST_TOKENS),
        given.take("per_prompt", int, low=1),
        given.take("text", str, "document", choices=KINDS),
        given.take("zipf", float, 0.0, low=0),
        given.take("order", str, SHUFFLED, choices=ORDERS),
    )
    given.done()
    if found.per_prompt > count:
        raise BadInput(f"{given.name('per_prompt')} is {found.per_prompt}; expected at most count, {count}")
    return found


def chunk_sessions(
    chunks: Chunks,
    prefix_tokens: int,
    question_tokens: Sequence[int],
    output_tokens: Sequence[int] | None,
    own_end_tokens: int,
    seed_key: str,
) -> tuple[Session, ...]:
    """A session of one turn per question. `own_end_tokens`: of a prefix, what no other prompt shares."""
    rng, sessions, firsts = random.Random(seed_key), list[Session](), dict[tuple[int, ...], int]()
    for index, question in enumerate(question_tokens):
        drawn = chunks.draw(rng)
        depth = next((d for d in range(len(drawn), -1, -1) if drawn[:d] in firsts), None)
        source = None if depth is None else firsts[drawn[:depth]]
        shared = 0 if depth is None else prefix_tokens - own_end_tokens + depth * chunks.tokens
        for d in range(len(drawn) + 1):
            firsts.setdefault(drawn[:d], index)
        mine = len(drawn) * chunks.tokens + question
        output = output_tokens[index] if output_tokens is not None else None
        turn = Turn(index, index, 1, mine, prefix_tokens + mine, shared, source, output, estimated=True, chunks=drawn)
        sessions.append(Session(index, 0, (turn,)))
    return tuple(sessions)


def chunk_reuse(sessions: Sequence[Session], chunks: Chunks) -> ChunkReuse:
    """The first round's, where nothing was sent before."""
    prompt = prefix = anywhere = 0
    seen = set[int]()
    for turn in itertools.chain.from_iterable(session.turns for session in sessions):
        beyond_prefix = turn.shared_tokens - (turn.prompt_tokens - turn.user_tokens)
        depth = max(0, math.ceil(beyond_prefix / chunks.tokens))  # chunks that are part of the shared prefix
        prompt, prefix = prompt + turn.prompt_tokens, prefix + turn.shared_tokens
        anywhere += turn.shared_tokens + chunks.tokens * len(seen.intersection(turn.chunks[depth:]))
        seen.update(turn.chunks)
    return ChunkReuse(prompt, prefix, anywhere)
