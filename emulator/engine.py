"""Tokens of a request come in, the moments of its answer go out: prefill one at a time in order of arrival, decode shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from emulator.cache import PrefixCache, block_hashes
from emulator.profile import Profile


@dataclass
class Counters:
    """What the metrics page shows; sums in simulated seconds as a server would measure them on its own clock."""

    requests: int = 0
    prompt_tokens: int = 0
    computed_tokens: int = 0
    generation_tokens: int = 0
    running: int = 0
    waiting: int = 0
    queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    ttft_s: float = 0.0
    e2e_s: float = 0.0


@dataclass
class Admitted:
    """One request as the engine sees it; real (scaled) monotonic seconds."""

    prompt_tokens: int
    arrived_s: float
    hashes: list[bytes] = field(repr=False, default_factory=list)
    cached_tokens: int = 0


class Engine:
    def __init__(self, profile: Profile, time_scale: float) -> None:
        self.profile = profile
        self.time_scale = time_scale
        self.cache = PrefixCache(profile.capacity_tokens, profile.block_size)
        self.counters = Counters()
        self._prefill = asyncio.Lock()  # fair: waiters are served in order of arrival
        self._slots = asyncio.Semaphore(profile.max_num_seqs)
        self._computing = False

    async def generate(self, token_ids: Sequence[int], output_tokens: int) -> AsyncIterator[Admitted]:
        """Yields once per output token, at the moment it is ready."""
        request = Admitted(len(token_ids), time.monotonic(), block_hashes(token_ids, self.profile.block_size))
        counters = self.counters
        counters.waiting += 1
        async with self._slots:
            try:
                await self._run_prefill(request)
            finally:
                counters.waiting -= 1
            counters.running += 1
            try:
                first_s = time.monotonic()
                counters.ttft_s += first_s - request.arrived_s
                yield request
                due_s = first_s
                for _ in range(output_tokens - 1):
                    due_s += self.profile.timing.decode_s(counters.running, self._computing) * self.time_scale
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                    yield request
                counters.decode_s += time.monotonic() - first_s
            finally:
                counters.running -= 1
        counters.requests += 1
        counters.prompt_tokens += request.prompt_tokens
        counters.computed_tokens += request.prompt_tokens - request.cached_tokens
        counters.generation_tokens += output_tokens
        counters.e2e_s += time.monotonic() - request.arrived_s

    async def _run_prefill(self, request: Admitted) -> None:
        """Wait for the prefill, take what is cached at that moment, and leave the blocks behind when it is computed."""
        timing = self.profile.timing
        async with self._prefill:
            started_s = time.monotonic()
            self.counters.queue_s += started_s - request.arrived_s
            request.cached_tokens = self.cache.match(request.hashes, request.prompt_tokens)
            uncached = request.prompt_tokens - request.cached_tokens
            self._computing = uncached > self.profile.block_size
            try:
                await asyncio.sleep(timing.prefill_s(uncached, request.cached_tokens) * self.time_scale)
            finally:
                self._computing = False
            self.cache.store(request.hashes)
            self.counters.prefill_s += time.monotonic() - started_s
        await asyncio.sleep((timing.hand_off_s_per_token * request.prompt_tokens + timing.decode_step_s) * self.time_scale)
