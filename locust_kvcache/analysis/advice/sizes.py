"""Chooses the sizes that are tried, predicts them, and says which of them a verifying run should have."""

from __future__ import annotations

from collections.abc import Sequence

from locust_kvcache.analysis.advice.demand import Blocks
from locust_kvcache.analysis.advice.marks import Marks, cost_without, marks_of, own_point
from locust_kvcache.analysis.advice.prediction import GPU, Point, Prices, Question, predict
from locust_kvcache.analysis.advice.sources import Source
from locust_kvcache.contract.cache_tiers import TIERS

NICE = (1, 2, 5)
SIZES = 8
SETTINGS = {
    "gpu": "KV cache of the engine (vLLM --num-gpu-blocks-override {blocks})",
    "cpu": "host memory (LMCACHE_MAX_LOCAL_CPU_SIZE={gb})",
    "disk": "SSD (LMCACHE_MAX_LOCAL_DISK_SIZE={gb})",
    "store": "store ({gb} GB of segments in all)",
}


def nice_sizes(largest_gb: float, count: int = SIZES) -> list[float]:
    """1, 2 and 5 times powers of ten, up to the first that holds everything."""
    every = [nice * 10.0**power for power in range(-6, 7) for nice in NICE]
    last = next((place for place, size in enumerate(every) if size >= largest_gb), len(every) - 1)
    return [float(f"{size:g}") for size in every[max(0, last - count + 1) : last + 1]]


def tiers_of(wanted: Sequence[str], source: Source, prices: Prices) -> tuple[list[str], list[str]]:
    """Those to show, and in sentences what keeps the others out."""
    if wanted:
        return [tier for tier in TIERS if tier in wanted], []
    known = [tier for tier in TIERS if tier == GPU or tier in source.links or tier in prices.gb_month]
    out = [tier for tier in TIERS if tier not in known]
    said = [
        f"Nothing is known of {', '.join(out)}: give --link-gb-per-s and --gb-month-price, or --tiers for the hit rate alone."
    ]
    return known, said if out else []


def points_of(question: Question, blocks: Blocks, tiers: Sequence[str], sizes: Sequence[float]) -> list[Point]:
    """Of the GPU its own size, and those that hold the longest request; of a lower tier those that hold more than the GPU cache."""
    own, rows = question.gpu_gb, question.demand.requests
    least = float((rows["prompt_tokens"] + rows["output_tokens"]).max()) * question.kv_bytes / 1e9
    found = []
    for tier in tiers:
        if tier == GPU:
            fit = [size for size in sizes if size >= least]
            found += [predict(question, blocks, tier, size) for size in sorted({*fit, *([own] if own else [])})]
        elif own is not None:
            found += [predict(question, blocks, tier, size) for size in sorted(sizes) if size > own]
    return found


def nothing_tried(question: Question, tiers: Sequence[str], sizes: Sequence[float]) -> str:
    """Why no size is left, and the way out."""
    if question.gpu_gb is None and GPU not in tiers:
        return f"--tiers {' '.join(tiers)}: nothing tells how much KV the GPUs of a server hold; add --gpu-gb, or the tier gpu"
    least = "the longest request" if GPU in tiers else f"the GPU cache ({question.gpu_gb:,.4g} GB)"
    way = "" if GPU in tiers else ", or the tier gpu in --tiers"
    return f"the largest size to try is {max(sizes):,.4g} GB; expected --sizes-gb above {least}{way}"


def marks_for(points: Sequence[Point], question: Question, unlimited: float) -> list[Marks]:
    """The GPU's own memory has no rent to weigh, so it has a knee alone."""
    without, own = cost_without(points, question.gpu_gb), own_point(points, question.gpu_gb)
    return [
        marks_of(tier, [one for one in points if one.tier == tier], unlimited, without if tier != GPU else None, own)
        for tier in dict.fromkeys(one.tier for one in points)
    ]


def setting_of(marks: Sequence[Marks], own_gb: float | None, block: int) -> str:
    """The size that the verifying run should have, if the GPU cache is not enough: the cheapest, else the knee, of the tier that gains
    most."""
    gpu = next((one.knee for one in marks if one.tier == GPU), None)
    if gpu is not None and own_gb is not None and own_gb >= gpu.size_gb:
        return ""
    chosen = [one.cheapest or one.knee for one in marks if one.tier != GPU] or [gpu]
    best = max((one for one in chosen if one is not None), key=lambda one: one.hit_rate, default=None)
    if best is None:
        return ""
    words = SETTINGS[best.tier].format(gb=f"{best.size_gb:g}", blocks=int(best.size_tokens // block))
    return f"Give the server {best.size_gb:,.4g} GB of {words}, then run:"
