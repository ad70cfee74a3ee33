"""Holds one request on one server: its tokens, their source, and the times of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.blocks import block_hashes

ANSWER = " the report says that nothing has changed near the old bridge since last winter and work goes on"


@dataclass(slots=True)
class Load:
    """KV that came from a lower tier."""

    tier: str
    tokens: int
    start_s: float
    end_s: float
    size_bytes: float


@dataclass(slots=True, eq=False)
class Work:
    prompt_ids: Sequence[int]
    output_tokens: int
    block_size: int
    answer_ids: Sequence[int]
    on_token: Callable[[Work, float], None]  # (work, due_s), once per output token
    salt: bytes = b""
    priority: int = 0
    remote_tokens: int = 0  # the prefiller hands these over on a direct link
    external_hint: int | None = None  # tokens that a store in another process said it has, asked before arrival here
    owner: Any = None
    hashes: list[bytes] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    registered: int = 0
    computed: int = 0  # tokens whose KV is there, cached ones included
    emitted: int = 0
    handed_out: int = 0  # of the emitted: those that have left the server's output process
    saved_tokens: int = 0
    cancelled: bool = False
    preemptions: int = 0
    # what happened
    arrived_s: float = 0.0
    queued_s: float = 0.0
    scheduled_s: float | None = None
    prefilled_s: float | None = None
    finished_s: float | None = None
    gpu_tokens: int = 0
    loads: list[Load] = field(default_factory=list)
    loaded: bool = False
    computed_tokens: int = 0
    puts_done_s: float = 0.0
    last_token_s: float = 0.0

    def __post_init__(self) -> None:
        self.hashes = block_hashes(self.prompt_ids, self.block_size, self.salt)

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt_ids)

    @property
    def known_tokens(self) -> int:
        return len(self.prompt_ids) + self.emitted

    @property
    def remaining(self) -> int:
        """Tokens to compute before the next one can be sampled."""
        return len(self.prompt_ids) + self.emitted - self.computed

    @property
    def decoding(self) -> bool:
        return self.emitted > 0 and self.remaining == 1

    @property
    def external_tokens(self) -> int:
        return sum(load.tokens for load in self.loads)

    @property
    def cached_tokens(self) -> int:
        return self.gpu_tokens + self.external_tokens

    def token_at(self, position: int) -> int:
        if position < len(self.prompt_ids):
            return self.prompt_ids[position]
        return self.answer_ids[(position - len(self.prompt_ids)) % len(self.answer_ids)]

    def hash_blocks(self, count: int) -> None:
        """Extend the hashes over generated tokens, as far as whole blocks of them are known."""
        while len(self.hashes) < count:
            start = len(self.hashes) * self.block_size
            ids = [self.token_at(position) for position in range(start, start + self.block_size)]
            self.hashes += block_hashes(ids, self.block_size, self.hashes[-1] if self.hashes else self.salt)

    def chunk_hashes(self, chunk_tokens: int, tokens: int) -> list[bytes]:
        """The hash at the end of each whole chunk within the first `tokens` tokens."""
        ratio = chunk_tokens // self.block_size
        return self.hashes[ratio - 1 : tokens // self.block_size : ratio]
