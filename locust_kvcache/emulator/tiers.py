"""Emulates the tiers below the GPU: host memory (LMCache), a shared store (Mooncake), LRU, and the links that move KV."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TierSpec:
    """A tier's YAML. `load`: sync (inside the prefill step, LMCache in process) or async (before it, booked as queue time)."""

    chunk_tokens: int
    capacity_bytes: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    latency_s: float = 0.0
    load: str = "async"
    whole_prompt_hit: str = (
        "token"  # of a wholly known prompt, compute the last token (LMCache) or the last chunk (MooncakeStoreConnector)
    )
    ttl_s: float = 0.0  # a chunk is forgotten so long after its last use; 0: never
    save_generated: bool = False  # both connectors keep prompts only, by default


@dataclass(slots=True)
class Link:
    """One direction of a tier's path: transfers follow one another. T = latency_s + bytes / bytes_per_s."""

    bytes_per_s: float
    latency_s: float
    time_scale: float
    free_at_s: float = 0.0

    def transfer(self, now_s: float, size_bytes: float, factor: float = 1.0) -> tuple[float, float]:
        """(start, end) of a transfer asked for now."""
        start_s = max(now_s, self.free_at_s)
        end_s = start_s + (self.latency_s + size_bytes / self.bytes_per_s) * factor * self.time_scale
        self.free_at_s = end_s
        return start_s, end_s


class Tier:
    """The chunks of one tier in LRU order; several servers may share it."""

    def __init__(self, name: str, spec: TierSpec, kv_bytes_per_token: float, time_scale: float) -> None:
        self.name, self.spec = name, spec
        self.chunk_bytes = spec.chunk_tokens * kv_bytes_per_token
        self.capacity_chunks = int(spec.capacity_bytes // self.chunk_bytes)
        self.read_link = Link(spec.read_bytes_per_s, spec.latency_s, time_scale)
        self.write_link = Link(spec.write_bytes_per_s, spec.latency_s, time_scale)
        self._chunks: OrderedDict[bytes, float] = OrderedDict()  # -> last use
        self.ttl_s = spec.ttl_s * time_scale
        self.clock: Callable[[], float] = time.monotonic  # a deployment puts its simulation's in place
        self.puts_in_flight = 0
        self.counts = dict.fromkeys(("puts", "put_chunks", "failed_chunks", "lookups", "lookup_chunks", "hit_chunks"), 0)
        self.counts |= dict.fromkeys(("gets", "get_chunks", "evictions", "evicted_chunks", "clears"), 0)

    @property
    def held_chunks(self) -> int:
        return len(self._chunks)

    def chunk_keys(self) -> list[str]:
        return [chunk.hex() for chunk in self._chunks]

    @property
    def used_bytes(self) -> float:
        return len(self._chunks) * self.chunk_bytes

    def __contains__(self, chunk: bytes) -> bool:
        return chunk in self._chunks

    def match(self, chunks: Sequence[bytes]) -> int:
        """How many leading chunks are held; they count as used just now."""
        now_s = self._expired()
        found = 0
        for chunk in chunks:
            if chunk not in self._chunks:
                break
            self._chunks[chunk] = now_s
            self._chunks.move_to_end(chunk)
            found += 1
        self.counts["lookups"] += 1
        self.counts["lookup_chunks"] += len(chunks)
        self.counts["hit_chunks"] += found
        return found

    def _expired(self) -> float:
        """Forget what its TTL has ended; the time now."""
        now_s = self.clock()
        while self.ttl_s and self._chunks and now_s - next(iter(self._chunks.values())) > self.ttl_s:
            self._chunks.popitem(last=False)
        return now_s

    def put(self, chunks: Sequence[bytes]) -> None:
        now_s = self._expired()
        for chunk in chunks:
            self._chunks[chunk] = now_s
            self._chunks.move_to_end(chunk)
        over = len(self._chunks) - self.capacity_chunks
        if over > 0:
            self.counts["evictions"] += 1
            self.counts["evicted_chunks"] += over
            for _ in range(over):
                self._chunks.popitem(last=False)

    def clear(self) -> None:
        self._chunks.clear()
        self.counts["clears"] += 1
