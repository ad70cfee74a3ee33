"""Emulates the connector between a server's GPU cache and the tiers below it."""

from __future__ import annotations

from dataclasses import dataclass

from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.tiers import Tier
from locust_kvcache.emulator.work import Load, Work


@dataclass
class Lies:
    """What the tiers do wrong, switched at run time (locust_kvcache/emulator/faults.py)."""

    put_slowness: float = 1.0  # a put into the store takes so many times as long
    puts_fail: bool = False
    put_slows_prefill: float = 0.0  # share by which computing new tokens takes longer while they are put
    degraded_s: float | None = None  # LMCache failed to initialise: no hits, and each request waits so long for its lookup
    reset_noop: bool = False
    reset_gpu_only: bool = False
    reset_refused_while_puts: bool = False


@dataclass
class StoreMetrics:
    """vLLM's vllm:mooncake_store_operation_*: (operation, status) -> count, seconds, keys, bytes, failed keys."""

    operations: dict[tuple[str, str], list[float]]

    def add(self, operation: str, status: str, seconds: float, keys: int, size_bytes: float = 0.0, failed: int = 0) -> None:
        row = self.operations.setdefault((operation, status), [0.0] * 5)
        for index, value in enumerate((1, seconds, keys, size_bytes, failed)):
            row[index] += value


class Connector:
    def __init__(
        self,
        simulation: Simulation,
        cpu: Tier | None,
        store: Tier | None,
        kv_bytes_per_token: float,
        lies: Lies,
        disk: Tier | None = None,
    ) -> None:
        self.simulation, self.cpu, self.disk, self.store, self.lies = simulation, cpu, disk, store, lies
        self.kv_bytes_per_token = kv_bytes_per_token
        self.store_metrics = StoreMetrics({})
        self.put_tokens = 0
        self.retrieved_tokens = 0
        self.looked_up_hits = 0
        self.disk_tokens = 0  # of those retrieved

    @property
    def present(self) -> bool:
        return any(tier is not None for tier in (self.cpu, self.disk, self.store))

    def lookup(self, work: Work, gpu_tokens: int) -> list[tuple[Tier, int]]:
        """Tokens that each tier adds to what the GPU holds. Host memory is asked first, then the disk, the store from where they end."""
        if self.lies.degraded_s is not None or not self.present:
            return []
        held: list[tuple[Tier, int]] = []
        for tier in (self.cpu, self.disk, self.store):
            if tier:
                below = held[-1][1] if held else 0
                held.append((tier, max(below, self._held(tier, work, below))))
        limit = self._limit(work, held[-1][0])
        found, reached = [], gpu_tokens
        for tier, tokens in held:
            usable = min(tokens, limit)
            if usable > reached:
                found.append((tier, usable - reached))
                reached = usable
        self.looked_up_hits += reached - gpu_tokens
        return found

    def _held(self, tier: Tier | None, work: Work, below_tokens: int) -> int:
        assert tier is not None
        if tier is self.store and work.external_hint is not None:
            return work.external_hint
        size = tier.spec.chunk_tokens
        skipped = below_tokens // size
        chunks = work.chunk_hashes(size, work.prompt_tokens)[skipped:]
        found = (skipped + tier.match(chunks)) * size
        if tier is self.store:
            self.store_metrics.add("lookup_exists", "ok", tier.spec.latency_s, len(chunks))
        return found

    @staticmethod
    def _limit(work: Work, tier: Tier | None) -> int:
        """Of a wholly known prompt something must be computed: the last token (LMCache) or the last chunk (MooncakeStoreConnector)."""
        last = work.prompt_tokens - 1
        if tier is None or tier.spec.whole_prompt_hit == "token":
            return last
        return last // tier.spec.chunk_tokens * tier.spec.chunk_tokens

    def load(self, work: Work, found: list[tuple[Tier, int]]) -> float:
        """Start the transfers; when the last one ends."""
        now_s = end_s = self.simulation.now_s
        for tier, tokens in found:
            size_bytes = tokens * self.kv_bytes_per_token
            start_s, end_s = tier.read_link.transfer(now_s, size_bytes)
            chunks = -(-tokens // tier.spec.chunk_tokens)
            tier.counts["gets"] += 1
            tier.counts["get_chunks"] += chunks
            work.loads.append(Load(tier.name, tokens, start_s, end_s, size_bytes))
            self.retrieved_tokens += tokens
            if tier is self.store:
                self.store_metrics.add("load_get", "ok", end_s - start_s, chunks, size_bytes)
            self.disk_tokens += tokens if tier is self.disk else 0
            if self.cpu and tier is not self.cpu:  # LMCache keeps what it fetched in host memory too
                self.cpu.put(work.chunk_hashes(self.cpu.spec.chunk_tokens, work.cached_tokens + 1))
        return end_s

    def save(self, work: Work) -> None:
        """Put the whole chunks that are computed by now and not yet kept below."""
        if self.lies.degraded_s is not None:
            return
        tokens = work.computed if self.saves_generated else min(work.computed, work.prompt_tokens)
        work.hash_blocks(tokens // work.block_size)
        for tier in (self.cpu, self.disk, self.store):
            if tier is None:
                continue
            chunks = work.chunk_hashes(tier.spec.chunk_tokens, tokens)[work.saved_tokens // tier.spec.chunk_tokens :]
            new = [chunk for chunk in chunks if chunk not in tier]
            if chunks and tier is self.store:  # a put asks first what is there already
                tier.counts["lookups"] += 1
                tier.counts["lookup_chunks"] += len(chunks)
                self.store_metrics.add("save_exists", "ok", tier.spec.latency_s, len(chunks))
            if new and tier is not self.store:
                tier.write_link.transfer(self.simulation.now_s, len(new) * tier.chunk_bytes)
                self._count_put(tier, new)
                tier.put(new)
            elif new:
                self._put_into_store(tier, work, new)
        work.saved_tokens = tokens

    @property
    def saves_generated(self) -> bool:
        return any(tier.spec.save_generated for tier in (self.cpu, self.disk, self.store) if tier)

    def _count_put(self, tier: Tier, chunks: list[bytes]) -> None:
        tier.counts["puts"] += 1
        tier.counts["put_chunks"] += len(chunks)
        self.put_tokens += len(chunks) * tier.spec.chunk_tokens

    def _put_into_store(self, store: Tier, work: Work, chunks: list[bytes]) -> None:
        now_s = self.simulation.now_s
        _, end_s = store.write_link.transfer(now_s, len(chunks) * store.chunk_bytes, self.lies.put_slowness)
        store.puts_in_flight += 1
        work.puts_done_s = max(work.puts_done_s, end_s)
        self._count_put(store, chunks)
        self.simulation.at(end_s, self._landed, (store, chunks, end_s - now_s))

    def _landed(self, put: tuple[Tier, list[bytes], float]) -> None:
        store, chunks, seconds = put
        store.puts_in_flight -= 1
        if self.lies.puts_fail:
            store.counts["failed_chunks"] += len(chunks)
            self.store_metrics.add("save_put", "partial_failure", seconds, len(chunks), 0.0, len(chunks))
            return
        store.put(chunks)
        self.store_metrics.add("save_put", "ok", seconds, len(chunks), len(chunks) * store.chunk_bytes)
