"""Emulates a server with a block pool, batched steps, chunked prefill and preemption, as in vLLM.

A step takes first one token of every decoding request, then as many prompt tokens as max_num_batched_tokens leaves, in order of arrival.
Blocks of a prompt can be found by others from the step that computes them, so requests with one prefix in one step share it.
"""

from __future__ import annotations

from collections import deque

from locust_kvcache.emulator.blocks import BlockPool
from locust_kvcache.emulator.connector import Connector
from locust_kvcache.emulator.observer import Counters, Observer
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import ServerSpec
from locust_kvcache.emulator.tiers import Link, Tier
from locust_kvcache.emulator.work import Load, Work


class Server:
    def __init__(
        self, name: str, spec: ServerSpec, block_size: int, simulation: Simulation, time_scale: float, connector: Connector
    ) -> None:
        self.name, self.spec, self.block_size = name, spec, block_size
        self.simulation, self.time_scale, self.connector = simulation, time_scale, connector
        self.pool = BlockPool(spec.gpu_capacity_tokens // block_size)
        self.counters = Counters()
        self.waiting: deque[Work] = deque()
        self.loading: list[Work] = []
        self.running: dict[Work, None] = {}  # in order of admission
        self.remote_link: Link | None = None
        self.puts_under_way: Tier | None = connector.store
        self.observers: list[Observer] = []
        self._stepping = False

    # -- in

    def submit(self, work: Work) -> None:
        work.arrived_s = self.simulation.now_s
        delay_s = self.spec.timing.frontend(work.prompt_tokens)
        if self.connector.lies.degraded_s is not None:
            delay_s += self.connector.lies.degraded_s
        self.simulation.at(work.arrived_s + delay_s * self.time_scale, self._enqueue, work)

    def cancel(self, work: Work) -> None:
        """The client has gone: its blocks are free again; what it computed stays cached."""
        if work.cancelled or work.finished_s is not None:
            return
        work.cancelled = True
        self._leave(work)
        self.counters.finished["abort"] += 1

    def reset_prefix_cache(self) -> bool:
        return self.pool.reset()

    def _enqueue(self, work: Work) -> None:
        if work.cancelled:
            return
        work.queued_s = self.simulation.now_s
        place = len(self.waiting)
        while self.spec.by_priority and place and self.waiting[place - 1].priority > work.priority:
            place -= 1
        self.waiting.insert(place, work)
        self._wake()

    def _wake(self) -> None:
        if not self._stepping:
            self._step()

    # -- one step

    def _step(self) -> None:
        """Plan what this step computes and when it ends."""
        budget, preempted = self.spec.max_num_batched_tokens, self.counters.preemptions
        planned: list[tuple[Work, int]] = []
        for work in tuple(self.running):
            new = min(work.remaining, budget)
            if new and work in self.running and self._grow(work, new):
                planned.append((work, new))
                budget -= new
        if preempted == self.counters.preemptions:
            self._admit(planned, budget)
        else:
            planned = [(work, new) for work, new in planned if work.blocks]  # less those preempted for others
        self._stepping = bool(planned)
        if planned:
            end_s = self.simulation.now_s + self._duration_s(planned) * self.time_scale + self._synchronous_s(planned)
            self.simulation.at(end_s, self._finish_step, planned)

    def _duration_s(self, planned: list[tuple[Work, int]]) -> float:
        timing, store = self.spec.timing, self.puts_under_way
        prefilling, decoding, context_tokens = [], 0, 0
        for work, new in planned:
            if work.emitted and work.remaining == 1:
                decoding += 1
                context_tokens += work.computed
            else:
                prefilling.append((new, work.computed))
        compute_s = timing.prefill_s(prefilling) * (1 + self.connector.lies.put_slows_prefill)
        step_s = timing.step_s(compute_s, decoding, context_tokens)
        slow = timing.step_slowdown_while_putting if store and store.puts_in_flight and decoding else 0.0
        return step_s * (1 + slow)

    def _synchronous_s(self, planned: list[tuple[Work, int]]) -> float:
        """Loads that happen inside the step: LMCache in process, before the forward pass."""
        ends_s = [work.loads[-1].end_s for work, _ in planned if work.loads and not work.emitted]
        return max([0.0, *(end_s - self.simulation.now_s for end_s in ends_s)])

    def _admit(self, planned: list[tuple[Work, int]], budget: int) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.spec.max_num_seqs:
            work = self.waiting[0]
            if not work.blocks and not self._start(work):
                return  # it does not fit: nobody overtakes it
            self.waiting.popleft()
            if work in self.loading:
                continue
            new = min(work.remaining, budget)
            if not self._grow(work, new):
                self.waiting.appendleft(work)
                return
            work.scheduled_s = work.scheduled_s if work.scheduled_s is not None else self.simulation.now_s
            self.running[work] = None
            planned.append((work, new))
            budget -= new

    def _start(self, work: Work) -> bool:
        """Find what is cached and hold it; False if the whole prompt does not fit into the pool now."""
        size, pool, counters = self.block_size, self.pool, self.counters
        found = pool.match(work.hashes, (work.known_tokens - 1) // size) if self.spec.prefix_caching else []
        gpu_tokens = len(found) * size
        needed = -(-work.known_tokens // size) - len(found) + pool.missing_when_held(found)
        if needed > pool.free_blocks:
            return False
        pool.hold(found)
        work.blocks, work.registered, work.computed = list(found), len(found), gpu_tokens
        if not work.loaded:
            counters.queries_tokens += work.prompt_tokens * self.spec.prefix_caching
            counters.hits_tokens += gpu_tokens
            work.gpu_tokens = gpu_tokens
            for observer in self.observers:
                observer.looking_up(work)
            self._load(work, gpu_tokens)
            for observer in self.observers:
                observer.looked_up(work)
        return True

    def _load(self, work: Work, gpu_tokens: int) -> None:
        """What is not on the GPU may be below it, or come from the prefiller. An asynchronous load waits outside the batch."""
        now_s, counters = self.simulation.now_s, self.counters
        work.loaded = True
        if self.connector.present or self.remote_link:
            counters.external_queries_tokens += work.prompt_tokens - gpu_tokens
        if self.remote_link and work.remote_tokens > gpu_tokens:
            tokens = min(work.remote_tokens, work.prompt_tokens - 1) - gpu_tokens
            size_bytes = tokens * self.connector.kv_bytes_per_token
            start_s, end_s = self.remote_link.transfer(now_s, size_bytes)
            work.loads.append(Load("prefiller", tokens, start_s, end_s, size_bytes))
            waits = True
        else:
            found = self.connector.lookup(work, gpu_tokens)
            end_s = self.connector.load(work, found)
            waits = any(tier.spec.load == "async" for tier, _ in found)
        work.computed += work.external_tokens
        counters.external_hits_tokens += work.external_tokens
        if work.external_tokens:
            self._grow(work, 0)
        if waits:
            self.loading.append(work)
            self.simulation.at(end_s, self._loaded, work)

    def _loaded(self, work: Work) -> None:
        if work in self.loading:
            self.loading.remove(work)
            self.waiting.appendleft(work)
            self._wake()

    def _grow(self, work: Work, new: int) -> bool:
        """Blocks for `new` more tokens, taken from the last of the batch if there are none left (preemption: it starts again)."""
        wanted, size = work.computed + new, self.block_size
        if wanted <= len(work.blocks) * size and wanted // size == work.registered:
            return True  # most decode steps
        missing = -(-wanted // size) - len(work.blocks)
        while missing > self.pool.free_blocks:
            if work not in self.running:
                return False
            victim = next(reversed(self.running))
            self._preempt(victim)
            if victim is work:
                return False
        work.blocks += self.pool.take(max(0, missing))
        full = wanted // size
        if self.spec.prefix_caching and full > work.registered:
            work.hash_blocks(full)
            for number in range(work.registered, full):
                self.pool.register(work.blocks[number], work.hashes[number])
            work.registered = full
        return True

    def _preempt(self, work: Work) -> None:
        del self.running[work]
        self.pool.release(work.blocks)
        work.blocks, work.registered, work.computed = [], 0, 0
        work.preemptions += 1
        self.counters.preemptions += 1
        self.waiting.appendleft(work)

    # -- out

    def _finish_step(self, planned: list[tuple[Work, int]]) -> None:
        due_s, gap_s = self.simulation.now_s, self.spec.timing.output_s_per_token * self.time_scale
        for work, new in planned:
            if work.cancelled or not work.blocks:
                continue
            if not work.emitted:
                work.computed_tokens += new
            work.computed += new
            if self.connector.present and self.spec.saves and (not work.emitted or self.connector.saves_generated):
                self.connector.save(work)
            if not work.remaining:
                self._emit(work, due_s)
                due_s += gap_s
        for observer in self.observers:
            observer.step(sum(new for _, new in planned))
        self._step()

    def _emit(self, work: Work, due_s: float) -> None:
        counters, simulation = self.counters, self.simulation
        work.emitted += 1
        counters.generation_tokens += 1
        if work.emitted == 1:
            work.prefilled_s = simulation.now_s
            counters.prompt_tokens += work.prompt_tokens
            counters.computed_tokens += work.prompt_tokens - work.cached_tokens
            counters.external_tokens += work.external_tokens
        if work.emitted >= work.output_tokens:
            work.finished_s = due_s
            self._leave(work)
            counters.finished["length"] += 1
        if due_s > simulation.now_s:
            simulation.at(due_s, self._hand_out, work)
        else:
            self._hand_out(work)

    def _hand_out(self, work: Work) -> None:
        """A token leaves at its own moment within the step's output."""
        due_s = self.simulation.now_s
        work.handed_out += 1
        for observer in self.observers:
            observer.token(work, due_s)
        work.last_token_s = due_s
        if work.handed_out == work.output_tokens:
            for observer in self.observers:
                observer.finished(work)
        work.on_token(work, due_s)

    def _leave(self, work: Work) -> None:
        self.running.pop(work, None)
        for group in (self.loading, self.waiting):
            if work in group:
                group.remove(work)
        if work.blocks:
            self.pool.release(work.blocks)
            work.blocks = []
