"""Predicts hit rate, TTFT and cost of a demand for each size of each tier, and for several servers.

Hits: LRU caches in the order in which the requests are sent. A tier below the GPU holds what the GPU cache holds too (it is written
through), so a prompt finds what the larger of the two kept. TTFT: the engine's queue (model/engine_queue.py). docs/advise.md has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from locust_kvcache.analysis.advice.demand import Blocks, Demand
from locust_kvcache.analysis.advice.playing import ROUND_ROBIN, serve_demand
from locust_kvcache.analysis.advice.sources import Link, Source
from locust_kvcache.analysis.basics.number_text import percent, whole
from locust_kvcache.analysis.model.engine_queue import Served
from locust_kvcache.analysis.model.stage_points import ALONE
from locust_kvcache.analysis.stats.intervals import Floats

PLAYS = 5  # of an open loop without due times, each with other arrivals
MOST_DECODING = 10.0  # times as many requests that decode at once as where the time of a token was measured
MOST_FRONT_END = 0.25  # of TTFT P50, beyond which it is a lower bound, unless requests are alone
MOST_BEYOND = 0.05  # share of the computed tokens beyond what was fitted, above which there is no TTFT
HOURS_PER_MONTH = 730.0
GPU, STORE = "gpu", "store"


@dataclass(frozen=True)
class Prices:
    """None: not known. `gb_month`: by tier; the GPU's own memory is paid with the GPU."""

    gpu_hour: float | None = None
    gb_month: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One size of one tier. What is not known is None; `why_no_ttft` and `why_no_cost` say why. `cost`: per million prompt tokens."""

    tier: str
    size_gb: float
    size_tokens: float
    servers: int
    routing: str
    hit_rate: float
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    ttft_mean_ms: float | None = None
    why_no_ttft: str | None = None
    prefill_gpu_s: float | None = None  # GPU seconds of prefill, per million prompt tokens
    cost_gpu: float | None = None
    cost_tier: float | None = None
    why_no_cost: str | None = None
    wall_s: float | None = None  # how long the load takes; of due times without a simulation, from the first to the last
    sustained: bool = True
    at_least: bool = False  # TTFT P50 is mostly front end under load, of which a model knows too little

    @property
    def cost(self) -> float | None:
        return None if self.cost_gpu is None or self.cost_tier is None else self.cost_gpu + self.cost_tier


@dataclass(frozen=True)
class Question:
    """What stays the same for all sizes: `gpu_tokens` is the KV cache of one server's GPUs, where it is not the tier in question."""

    demand: Demand
    source: Source
    prices: Prices
    gpus: int | None
    gpu_tokens: float | None
    kv_bytes: float
    servers: int = 1
    routing: str = ROUND_ROBIN

    @property
    def gpu_gb(self) -> float | None:
        return None if self.gpu_tokens is None else self.gpu_tokens * self.kv_bytes / 1e9


def predict(question: Question, blocks: Blocks, tier: str, size_gb: float) -> Point:
    """One size of one tier of each server; of a store the size that all share."""
    source, demand = question.source, question.demand
    size = size_gb * 1e9 / question.kv_bytes
    gpu_tokens = size if tier == GPU else float(question.gpu_tokens or 0.0)
    on_gpu = blocks.cached(gpu_tokens)
    cached = on_gpu if tier == GPU else np.maximum(on_gpu, blocks.cached(size, shared=tier == STORE))
    prompt = demand.requests["prompt_tokens"].to_numpy(dtype=np.float64)
    computed = np.maximum(prompt - cached, 1.0)
    work_s = source.costs.prefill_s(computed, prompt - computed)
    point = Point(tier, size_gb, size, question.servers, question.routing, float(cached.sum() / prompt.sum()))
    why = _why_no_ttft(question, tier, computed, cached > on_gpu)
    point = replace(point, why_no_ttft=why, prefill_gpu_s=_per_million(question.gpus, float(work_s.sum()), demand))
    wall_s = _span_s(demand)
    if why is None:
        loads_s = _loads_s(cached - on_gpu, source.links.get(tier), question.kv_bytes)
        point, wall_s = _with_times(question, blocks, point, cached, loads_s, gpu_tokens)
    return _with_cost(question, point, wall_s)


def _why_no_ttft(question: Question, tier: str, computed: Floats, below: np.ndarray) -> str | None:
    source = question.source
    if below.any() and tier not in source.links:
        return f"the load speed of {tier} is unknown: add --link-gb-per-s {tier}=GB/S, or measure it with --arms cold gpu_hit {tier}_hit"
    if source.longest_tokens is None:
        return None
    most = source.beyond * source.longest_tokens
    beyond = float(computed[computed > most].sum() / computed.sum())
    if beyond > MOST_BEYOND:
        return (
            f"{percent(beyond)} of the computed tokens are in prompts that compute more than {whole(most)}; {source.name} measured up to "
            f"{whole(source.longest_tokens)}: give a run with such prompts"
        )
    return None


def _loads_s(below: Floats, link: Link | None, kv_bytes: float) -> Floats:
    if link is None:
        return np.zeros_like(below)
    return np.where(below > 0, link.latency_s + below * kv_bytes / 1e9 / link.gb_per_s, 0.0)


def _span_s(demand: Demand) -> float | None:
    """Without a simulation: from the first to the last due time."""
    return None if demand.due_s is None or len(demand.due_s) < 2 else float(np.max(demand.due_s) - np.min(demand.due_s))


def _with_times(question: Question, blocks: Blocks, point: Point, cached: Floats, loads_s: Floats,
                gpu_tokens: float) -> tuple[Point, float]:  # fmt: skip
    demand = question.demand
    plays = [
        serve_demand(demand, question.source, cached, loads_s, blocks.last_replica, question.servers, gpu_tokens, seed)
        for seed in range(PLAYS if demand.rate_per_s is not None else 1)
    ]
    wall_s = float(np.mean([one.wall_s for one in plays]))
    if why := too_many(question.source, max(one.decoding for one in plays)):
        return replace(point, why_no_ttft=why), wall_s
    ttft_ms = 1000 * np.concatenate([one.ttft_s for one in plays])
    p50, p90 = (float(np.quantile(ttft_ms, share)) for share in (0.5, 0.9))
    at_least = _mostly_front_end(question, cached, plays, p50 / 1000)
    last = [float(one.arrived_s.max() - one.arrived_s.min()) for one in plays]
    sustained = demand.users is not None or all(one.wall_s <= 1.1 * span + 60 for one, span in zip(plays, last, strict=True))
    found = replace(
        point, ttft_p50_ms=p50, ttft_p90_ms=p90, ttft_mean_ms=float(ttft_ms.mean()), sustained=sustained, at_least=at_least
    )
    return found, wall_s


def _mostly_front_end(question: Question, cached: Floats, plays: Sequence[Served], p50_s: float) -> bool:
    """Whether requests are not alone and the front end and one step are over a quarter of the median."""
    source, prompt = question.source, question.demand.requests["prompt_tokens"].to_numpy(dtype=np.float64)
    beside_s = source.before_s + float(np.median(source.front_s(prompt, cached))) + source.costs.decode_s(1)
    at_once = max(float(one.e2e_s.sum()) / one.wall_s / question.servers for one in plays)
    return at_once > ALONE and beside_s > MOST_FRONT_END * p50_s


def too_many(source: Source, decoding: float) -> str | None:
    known = source.measured_decoding
    if known is None or decoding <= MOST_DECODING * known:
        return None
    return (
        f"about {whole(decoding)} requests would decode at once on a server; {source.name} measured the time of a token with at most "
        f"{whole(known)}: give a run of more users"
    )


def _per_million(gpus: int | None, seconds: float, demand: Demand) -> float | None:
    return None if gpus is None else gpus * seconds / demand.prompt_tokens * 1e6


def _with_cost(question: Question, point: Point, wall_s: float | None) -> Point:
    """GPU seconds of prefill at the price of a GPU hour, and the tier's rent while the load goes on."""
    point, prices = replace(point, wall_s=wall_s), question.prices
    own = point.tier == GPU and question.gpu_tokens is not None and abs(point.size_tokens - question.gpu_tokens) < 1
    rent = prices.gb_month.get(point.tier, 0.0 if own else None)  # what a server has is paid with its GPUs
    if prices.gpu_hour is None or rent is None or point.prefill_gpu_s is None or wall_s is None:
        wanted = (
            ("--gpu-hour-price" if prices.gpu_hour is None else ""),
            (f"--gb-month-price {point.tier}=PRICE" if rent is None else ""),
            ("--gpus" if point.prefill_gpu_s is None else ""),
        )
        missing = " and ".join(filter(None, wanted)) or "how long the load takes"
        return replace(point, why_no_cost=f"{missing} is not given")
    count = 1 if point.tier == STORE else question.servers
    per_hour = count * point.size_gb * rent / HOURS_PER_MONTH
    tokens_per_hour = question.demand.prompt_tokens / wall_s * 3600
    return replace(point, cost_gpu=point.prefill_gpu_s * prices.gpu_hour / 3600, cost_tier=per_hour / tokens_per_hour * 1e6)
