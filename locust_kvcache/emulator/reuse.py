"""Computes how much of each prompt a fleet could have found cached, and where it was lost, as five token counts per request.

All are taken at one moment, when the request's engine looks its prompt up (Server._start), so that they are exact and comparable:
delivered <= captured <= held <= reusable, and fits <= reusable. README.md says what each means.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator.observer import Observer
from locust_kvcache.emulator.server import Server
from locust_kvcache.emulator.tiers import Tier
from locust_kvcache.emulator.work import Work

FIGURES = ("prompt", "reusable", "fits", "held", "captured", "delivered")


@dataclass
class Pooled:
    """One cache as large as all caches of the fleet together, so that no block is held twice: LRU, of a prompt its end goes first."""

    capacity_blocks: int
    blocks: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def match(self, hashes: Sequence[bytes]) -> int:
        return next((number for number, block in enumerate(hashes) if block not in self.blocks), len(hashes))

    def keep(self, hashes: Sequence[bytes]) -> None:
        for block in reversed(hashes):
            self.blocks[block] = None
            self.blocks.move_to_end(block)
        while len(self.blocks) > self.capacity_blocks:
            self.blocks.popitem(last=False)


class Ledger:
    """Follows all engines of a fleet; leaves what it finds on the job and adds it up."""

    def __init__(self, servers: dict[str, Server], store: Tier | None) -> None:
        self.servers, self.store = servers, store
        self.block_size = next(iter(servers.values())).block_size
        self.endless: set[bytes] = set()
        self.pooled = Pooled(self._capacity_blocks())
        self.totals = {name: dict.fromkeys(("requests", *FIGURES), 0) for name in servers}
        for name, server in servers.items():
            server.observers.append(_Watch(self, name))

    def _capacity_blocks(self) -> int:
        tiers = [self.store, *(server.connector.cpu for server in self.servers.values())]
        below = sum(tier.capacity_chunks * tier.spec.chunk_tokens for tier in tiers if tier)
        return sum(server.pool.blocks for server in self.servers.values()) + below // self.block_size

    # -- one request

    def looking_up(self, engine: str, work: Work) -> None:
        whole = work.hashes[: work.prompt_tokens // self.block_size]
        by_engine = {name: self._held(server, whole, work) for name, server in self.servers.items()}
        held = max(by_engine.values())
        known = next((number for number, block in enumerate(whole) if not self._known(block)), len(whole))
        reuse = {
            "reusable": max(held, self._tokens(known, work)),
            "fits": self._tokens(self.pooled.match(whole), work),
            "held": held,
            "captured": by_engine[engine],
        }
        self._learn(whole)
        work.owner.reuse = {"engine": engine, **reuse, "held_by_engine": by_engine}

    def looked_up(self, engine: str, work: Work) -> None:
        reuse: dict[str, Any] = work.owner.reuse
        reuse["delivered"] = work.cached_tokens
        totals = self.totals[engine]
        totals["requests"] += 1
        for name, tokens in ({**reuse, "prompt": work.prompt_tokens}).items():
            if name in FIGURES:
                totals[name] += tokens

    def finished(self, work: Work) -> None:
        """Its answer is cached too."""
        self._learn(work.hashes)

    def _learn(self, hashes: Sequence[bytes]) -> None:
        self.endless.update(hashes)
        self.pooled.keep(hashes)

    def _known(self, block: bytes) -> bool:
        return block in self.endless or any(block in server.pool for server in self.servers.values())

    def _held(self, server: Server, hashes: Sequence[bytes], work: Work) -> int:
        """The prefix that this engine can reach: its GPU cache, its host memory, the shared store."""
        tiers = [tier for tier in (server.connector.cpu, server.connector.store) if tier]
        for number, block in enumerate(hashes):
            if block not in server.pool and not any(self._in_tier(tier, hashes, number) for tier in tiers):
                return self._tokens(number, work)
        return self._tokens(len(hashes), work)

    def _in_tier(self, tier: Tier, hashes: Sequence[bytes], number: int) -> bool:
        """Whether the chunk of that block lies there; a chunk is named by its last block."""
        ratio = tier.spec.chunk_tokens // self.block_size
        last = number // ratio * ratio + ratio - 1
        return last < len(hashes) and hashes[last] in tier

    def _tokens(self, blocks: int, work: Work) -> int:
        """As many as an engine may take: the last token is always computed, and from the GPU cache only whole blocks come."""
        whole_blocks = not any(server.connector.present for server in self.servers.values())
        limit = (work.prompt_tokens - 1) // self.block_size * self.block_size if whole_blocks else work.prompt_tokens - 1
        return min(blocks * self.block_size, limit)

    # -- the fleet

    def after_reset(self) -> None:
        """Nothing is held anywhere any more: the workload starts anew."""
        tiers = [self.store, *(server.connector.cpu for server in self.servers.values())]
        if not any(server.pool.cached_blocks for server in self.servers.values()) and not any(t.held_chunks for t in tiers if t):
            self.endless.clear()
            self.pooled.blocks.clear()

    def clear_totals(self) -> None:
        for totals in self.totals.values():
            totals.update(dict.fromkeys(totals, 0))

    def summed(self) -> dict[str, int]:
        return {name: sum(one[name] for one in self.totals.values()) for name in FIGURES}


@dataclass
class _Watch(Observer):
    ledger: Ledger
    engine: str

    def looking_up(self, work: Work) -> None:
        self.ledger.looking_up(self.engine, work)

    def looked_up(self, work: Work) -> None:
        self.ledger.looked_up(self.engine, work)

    def finished(self, work: Work) -> None:
        self.ledger.finished(work)
