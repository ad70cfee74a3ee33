"""Predicts the same demand on several replicas, and on pairs of prefillers and decoders, with the GPU caches that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from locust_kvcache.analysis.advice.playing import CACHE_AWARE, ROUND_ROBIN, blocks_for
from locust_kvcache.analysis.advice.prediction import GPU, Question, predict, too_many
from locust_kvcache.analysis.model import tandem
from locust_kvcache.analysis.model.tandem import Costs, Load, Split

PLAYS = 5


@dataclass(frozen=True)
class Option:
    """One deployment. `cost`: of all its GPUs while the load goes on, per million prompt tokens; what is not known is None."""

    name: str
    gpus: int | None
    hit_rate: float
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    cost: float | None = None
    at_least: bool = False
    why_not: str | None = None


def servers_text(count: int, routing: str) -> str:
    if count == 1:
        return "1 server"
    return f"{count} replicas, cache aware" if routing == CACHE_AWARE else f"{count} replicas, round robin"


def replicas(question: Question, count: int, routing: str, block: int) -> Option:
    """`count` servers, each with the GPU cache of one."""
    asked = replace(question, servers=count, routing=routing)
    point = predict(asked, blocks_for(asked.demand, asked.source, block, count, routing), GPU,
                    float(question.gpu_tokens or 0.0) * question.kv_bytes / 1e9)  # fmt: skip
    gpus = None if question.gpus is None else count * question.gpus
    name = servers_text(count, routing)
    return Option(
        name,
        gpus,
        point.hit_rate,
        point.ttft_p50_ms,
        point.ttft_p90_ms,
        _cost(question, gpus, point.wall_s),
        point.at_least,
        point.why_no_ttft,
    )


def _cost(question: Question, gpus: int | None, wall_s: float | None) -> float | None:
    price = question.prices.gpu_hour
    if gpus is None or price is None or wall_s is None:
        return None
    return gpus * price * wall_s / 3600 / question.demand.prompt_tokens * 1e6


def pairs(question: Question, split: Split, block: int) -> Option:
    """Prefillers as replicas by round robin, and decoders; times of the requests' own prefills, drawn (model/tandem.py)."""
    source, demand = question.source, question.demand
    gpus = None if question.gpus is None else (split.prefillers + split.decoders) * question.gpus
    blocks = blocks_for(demand, source, block, split.prefillers, ROUND_ROBIN)
    cached = blocks.cached(float(question.gpu_tokens or 0.0))
    prompt = demand.requests["prompt_tokens"].to_numpy(dtype=np.float64)
    computed = np.maximum(prompt - cached, 1.0)
    rate = float(cached.sum() / prompt.sum())
    if source.hand_off is None:
        return Option(split.name, gpus, rate, why_not=f"the hand-off was not measured: {ratio_command(question, rate)}")
    link = source.hand_off
    hand_off_s = link.latency_s + float(prompt.mean()) * question.kv_bytes / 1e9 / link.gb_per_s
    front_s = source.before_s + float(source.front_s(prompt, cached).mean())
    costs = Costs(
        prefill_s=np.maximum(source.costs.prefill_s(computed, prompt - computed), source.costs.step_s),
        delay_s=front_s + hand_off_s,
        batch=source.costs.batch,
        token_s=source.costs.token_s,
        output_tokens=max(1, round(float(demand.requests["output_tokens"].mean()))),
        step_prompts=source.costs.step_tokens / float(computed.mean()),
    )
    load = Load(len(prompt), demand.users, _rate(question))
    played = [tandem.play(split, load, costs, seed) for seed in range(PLAYS)]
    if why := too_many(source, max(one.batch_mean for one in played)):
        return Option(split.name, gpus, rate, why_not=why)
    ttft_ms = 1000 * np.concatenate([one.ttft_s for one in played])
    p50, p90 = (float(np.quantile(ttft_ms, share)) for share in (0.5, 0.9))
    wall_s = float(np.mean([one.wall_s for one in played]))
    return Option(split.name, gpus, rate, p50, p90, _cost(question, gpus, wall_s))


def _rate(question: Question) -> float | None:
    """Requests a second of an open loop."""
    demand = question.demand
    if demand.users is not None:
        return None
    starts_s = demand.starts_s(0)
    assert starts_s is not None  # a demand has users, a rate or due times
    return len(demand.requests) / max(1e-9, float(starts_s.max() - starts_s.min()))


def ratio_command(question: Question, hit_rate: float) -> str:
    """What predicts splits from measured points."""
    rows = question.demand.requests
    load = f"--users {question.demand.users}" if question.demand.users else f"--request-rate {_rate(question) or 0:.3g}"
    return (
        f"locust-kvcache ratio --pd PAIR_RUNS --gpus {2 * (question.gpus or 1)} --prompt-tokens {rows['prompt_tokens'].mean():.0f} "
        f"--output-tokens {max(1, rows['output_tokens'].mean()):.0f} --hit-rate {hit_rate:.2f} {load}"
    )


def options_of(question: Question, counts: Sequence[int], splits: Sequence[Split], block: int) -> list[Option]:
    found = []
    for count in counts:
        found += [replicas(question, count, routing, block) for routing in (ROUND_ROBIN, CACHE_AWARE)[: 1 if count == 1 else 2]]
    return [*found, *(pairs(question, split, block) for split in splits)]
