"""Simulates a demand on several servers: the server of each request, its send time, and its waiting time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from locust_kvcache.analysis.advice.demand import Blocks, Demand, blocks_of
from locust_kvcache.analysis.advice.sources import Source
from locust_kvcache.analysis.model.engine_queue import Requests, Served, serve
from locust_kvcache.analysis.stats.intervals import Floats

ROUTINGS = ROUND_ROBIN, CACHE_AWARE = "round_robin", "cache_aware"
FOUND_ENOUGH = 0.5  # of a prompt on a server, from which a cache-aware router sends it there


def serve_demand(demand: Demand, source: Source, cached: Floats, load_s: Floats, replica: np.ndarray, servers: int,
           capacity: float, seed: int) -> Served:  # fmt: skip
    """One round with these cached tokens; `capacity`: tokens of one server's KV cache."""
    rows = demand.requests
    prompt = rows["prompt_tokens"].to_numpy(dtype=np.float64)
    requests = Requests(
        session=rows["session"].tolist(),
        prompt=prompt,
        cached=cached,
        output=rows["output_tokens"].astype(int).tolist(),
        before_s=np.full(len(prompt), source.before_s),
        front_s=source.front_s(prompt, cached),
        load_s=load_s,
        wait_s=rows["wait_s"].to_numpy(dtype=np.float64),
        server=replica.tolist(),
        due_s=demand.starts_s(seed),
        users=demand.users,
    )
    return serve(requests, replace(source.costs, capacity_tokens=capacity), servers)


def arrivals(demand: Demand, source: Source, servers: int) -> Floats:
    """When each request of a round would be sent if every cache were without limit."""
    shared = demand.requests["shared_tokens"].to_numpy(dtype=np.float64)
    served = serve_demand(demand, source, shared, np.zeros(len(shared)), np.arange(len(shared)) % servers, servers, math.inf, 0)
    return served.arrived_s


def open_at_once(demand: Demand, source: Source, servers: int) -> int:
    """Most requests at once, if every cache were without limit: an open loop needs as many users."""
    shared = demand.requests["shared_tokens"].to_numpy(dtype=np.float64)
    served = serve_demand(demand, source, shared, np.zeros(len(shared)), np.arange(len(shared)) % servers, servers, math.inf, 0)
    times = np.concatenate([served.arrived_s, served.arrived_s + served.e2e_s])
    steps = np.repeat([1, -1], len(shared))
    return int(np.cumsum(steps[np.lexsort((steps, times))]).max())


def routed(demand: Demand, blocks: Blocks, servers: int, routing: str) -> np.ndarray:
    """The server of each request of all rounds.

    round_robin: each so many requests in a row go to all servers, in a random order, as senders that run at once have none of their own.
    cache_aware: where most of the prompt was sent before, if that is at least half of it; else where the fewest tokens went.
    """
    count = len(blocks.records)
    found, rng = np.zeros(count, dtype=np.int64), np.random.default_rng(0)
    sent = np.argsort(blocks.records["started_at_s"].to_numpy(), kind="stable")
    if servers == 1 or routing == ROUND_ROBIN:
        found[sent] = np.concatenate([rng.permutation(servers) for _ in range(-(-count // servers))])[:count]
        return found
    known: list[set[int]] = [set() for _ in range(servers)]
    tokens = [0.0] * servers
    prompts, index = (blocks.records[name].to_numpy() for name in ("prompt_tokens", "request_index"))
    for place in sent:
        chain = blocks.chains[demand.name, int(index[place])]
        held = [next((n for n, block in enumerate(chain) if block not in one), len(chain)) for one in known]
        best = max(range(servers), key=lambda one: (held[one], -tokens[one]))
        if held[best] < FOUND_ENOUGH * len(chain):
            best = min(range(servers), key=lambda one: tokens[one])
        found[place] = best
        known[best].update(chain)
        tokens[best] += float(prompts[place])
    return found


def blocks_for(demand: Demand, source: Source, block: int, servers: int = 1, routing: str = ROUND_ROBIN) -> Blocks:
    """The demand's blocks in the order in which they are sent."""
    plain = blocks_of(demand, arrivals(demand, source, servers), block)
    return replace(plain, replica=routed(demand, plain, servers, routing), known={})
