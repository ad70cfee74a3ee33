"""Emulates a deployment: a single server, or prefillers, a store and decoders behind one of the usual proxies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from locust_kvcache.emulator import tokenizer
from locust_kvcache.emulator.connector import Connector, Lies
from locust_kvcache.emulator.server import Server
from locust_kvcache.emulator.simulation import Simulation
from locust_kvcache.emulator.spec import Profile
from locust_kvcache.emulator.tiers import Link, Tier
from locust_kvcache.emulator.work import ANSWER, Work

ANSWER_IDS = tuple(tokenizer.encode(ANSWER))
PROXIES = {
    "wait_store": "prefill, wait until the store has the KV, decode: TTFT = prefill + put + load + first step (LMCache disagg_prefill_mp)",
    "sequential": "prefill, then decode at once, even if the store does not have the KV yet (vLLM toy_proxy_server)",
    "concurrent": "both at once, the decoder waits for the prefiller: TTFT = decoder's first token (vLLM mooncake_connector_proxy)",
    "prefill_token": "the prefiller sends the first token: TTFT = prefill only, the KV transfer is in the first ITL (LMCache "
    "disagg_proxy_server)",
}


@dataclass(slots=True, eq=False)
class Job:
    """One request of a client: what it wants, who is told, and the servers' work on it."""

    prompt_ids: Sequence[int]
    output_tokens: int
    on_token: Callable[[Job, float], None]
    salt: bytes = b""
    priority: int = 0
    external_hint: int | None = None
    remote_tokens: int = 0  # handed over by a prefiller in another process
    remote_cached_tokens: int | None = None  # what that prefiller had cached
    emitted: int = 0
    cancelled: bool = False
    first_repeated: bool = False
    decoder: str = "decoder"  # the name of the one that it goes to
    reuse: dict[str, Any] | None = None  # in a fleet: what could have been cached, and where it lay (reuse.py)
    works: dict[str, Work] = field(default_factory=dict)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that nobody had to compute: the prefiller's view where there is one."""
        if self.remote_cached_tokens is not None:
            return self.remote_cached_tokens
        first = next(iter(self.works.values()), None)
        return first.cached_tokens if first else 0


def server_names(role: str, count: int) -> list[str]:
    """One has its role's name; of several each has a number."""
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]


class Deployment:
    """`role`: single, pd, prefiller or decoder. `store` replaces the profile's own shared store by one that lives elsewhere.

    The proxy of role pd takes `prefillers` and `decoders` in turn, as the example proxies of vLLM and LMCache do.
    """

    def __init__(
        self,
        profile: Profile,
        role: str,
        simulation: Simulation,
        time_scale: float,
        proxy: str = "wait_store",
        store: Tier | None = None,
        prefillers: int = 1,
        decoders: int = 1,
    ) -> None:
        self.profile, self.role, self.simulation, self.time_scale, self.proxy = profile, role, simulation, time_scale, proxy
        self.started_s = time.time()  # of the process that this would be: on its page
        self.lies = Lies()
        self.on_reset: Callable[[], None] | None = None
        self.submitted = 0
        self.prefillers = server_names("prefiller", prefillers) if role in ("pd", "prefiller") else []
        self.decoders = server_names("decoder", decoders) if role in ("pd", "decoder") else []
        roles = {**dict.fromkeys(self.prefillers, "prefiller"), **dict.fromkeys(self.decoders, "decoder")} or {role: role}
        specs = {name: profile.server(of) for name, of in roles.items()}
        store_spec = next((spec.store for spec in specs.values() if spec.store), None)
        self.store = store or (Tier("store", store_spec, profile.kv_bytes_per_token, time_scale) if store_spec else None)
        self.servers: dict[str, Server] = {}
        if self.store:
            self.store.clock = self._now_s
        for name, spec in specs.items():
            cpu = Tier("cpu", spec.cpu, profile.kv_bytes_per_token, time_scale) if spec.cpu else None
            if cpu:
                cpu.clock = self._now_s
            disk = Tier("disk", spec.disk, profile.kv_bytes_per_token, time_scale) if spec.disk else None
            if disk:
                disk.clock = self._now_s
            connector = Connector(
                simulation, cpu, self.store if spec.store else None, profile.kv_bytes_per_token, self.lies, disk
            )
            self.servers[name] = Server(name, spec, profile.block_size, simulation, time_scale, connector)
        for name in self.decoders:
            self._couple(self.servers[name])

    def _couple(self, decoder: Server) -> None:
        """The prefiller's puts slow the decoder too: the segments of the store lie in both hosts' memory."""
        decoder.puts_under_way = self.store
        hand_off = self.profile.hand_off
        if hand_off.through == "p2p" or self.proxy == "concurrent":
            decoder.remote_link = Link(hand_off.bytes_per_s, hand_off.latency_s, self.time_scale)

    def _now_s(self) -> float:
        return self.simulation.now_s

    @property
    def entry(self) -> Server:
        return next(iter(self.servers.values()))

    def largest_request_tokens(self) -> int:
        return min(self.profile.max_model_len, *(server.pool.blocks * server.block_size for server in self.servers.values()))

    # -- a job's way

    def submit(self, job: Job) -> None:
        if self.role != "pd":
            self._start(job, self.role, job.output_tokens, self._pass_on)
            return
        prefiller = self.prefillers[self.submitted % len(self.prefillers)]
        job.decoder = self.decoders[self.submitted % len(self.decoders)]
        self.submitted += 1
        self._start(job, prefiller, 1, self._decode_now if self.proxy == "concurrent" else self._prefilled)

    def cancel(self, job: Job) -> None:
        job.cancelled = True
        for name, work in job.works.items():
            self.servers[name].cancel(work)

    def _start(self, job: Job, server: str, output_tokens: int, on_token: Callable[[Work, float], None]) -> None:
        work = Work(job.prompt_ids, output_tokens, self.profile.block_size, ANSWER_IDS, on_token, job.salt, owner=job)
        work.external_hint, work.priority = job.external_hint, job.priority
        if server in self.decoders and self.servers[server].remote_link:
            work.remote_tokens = len(job.prompt_ids) if self.role == "pd" else job.remote_tokens
        job.works[server] = work
        self.servers[server].submit(work)

    def _pass_on(self, work: Work, due_s: float) -> None:
        job: Job = work.owner
        if not job.cancelled:
            job.emitted += 1
            job.on_token(job, due_s)

    def _prefilled(self, work: Work, due_s: float) -> None:
        job: Job = work.owner
        if job.cancelled:
            return
        start_s = due_s + self.profile.hand_off.proxy_s * self.time_scale
        if self.proxy == "prefill_token":
            self._pass_on(work, due_s)
            if job.output_tokens == 1:
                return
        if self.proxy == "wait_store":
            start_s = max(start_s, work.puts_done_s)
        self.simulation.at(start_s, self._decode, job)

    def _decode_now(self, work: Work, due_s: float) -> None:
        """Both were asked at once; the decoder could do nothing before the prefiller's KV was there."""
        if not work.owner.cancelled:
            self.simulation.at(due_s, self._decode, work.owner)

    def _decode(self, job: Job) -> None:
        if job.cancelled:
            return
        drop_first = self.proxy == "prefill_token"
        self._start(job, job.decoder, job.output_tokens, self._after_first if drop_first else self._pass_on)

    def _after_first(self, work: Work, due_s: float) -> None:
        """The decoder samples the first token again; the proxy has sent it already."""
        if work.owner.first_repeated:
            self._pass_on(work, due_s)
        work.owner.first_repeated = True

    # -- resets

    def reset_prefix_cache(self, external: bool) -> bool:
        """vLLM's /reset_prefix_cache?reset_external=: True also when a lie makes it do nothing."""
        if self.lies.reset_noop:
            return True
        if self.lies.reset_refused_while_puts and self.store and self.store.puts_in_flight:
            return False
        results = [server.reset_prefix_cache() for server in self.servers.values()]
        done = all(results)
        if external and done and not self.lies.reset_gpu_only:
            for server in self.servers.values():
                for tier in (server.connector.cpu, server.connector.disk, server.connector.store):
                    if tier:
                        tier.clear()
        if self.on_reset:
            self.on_reset()
        return done
