"""Makes advise.json: inputs, every size, marks, other deployments, and what is not known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from locust_kvcache.analysis.advice.marks import Marks
from locust_kvcache.analysis.advice.prediction import Point
from locust_kvcache.analysis.report.advice_page import Advice, problems_of


def advice_json(advice: Advice) -> dict[str, Any]:
    demand, source = advice.demand, advice.source
    return {
        "format": 1,
        "kind": "kvcache-advice",
        "demand": {
            "name": demand.name, "requests": len(demand.requests), "rounds": demand.rounds, "prompt_tokens": demand.prompt_tokens,
            "users": demand.users, "sessions_per_s": demand.rate_per_s, "timed_by_trace": demand.due_s is not None,
        },
        "source": {
            "name": source.name, "kv_bytes_per_token": source.kv_bytes_per_token, "prefill_s_per_token": source.costs.prefill_s_per_token,
            "attention_s_per_token2": source.costs.attention_s_per_token2, "front_end_s": source.front_end,
            "cached_s_per_token": source.cached_s_per_token, "max_num_batched_tokens": source.costs.step_tokens,
            "max_num_seqs": source.costs.slots, "longest_tokens": source.longest_tokens,
            "links": {tier: dataclasses.asdict(link) for tier, link in source.links.items()},
        },
        "prices": {"gpu_hour": advice.question.prices.gpu_hour, "gb_month": dict(advice.question.prices.gb_month)},
        "unlimited_hit_rate": advice.unlimited_hit_rate,
        "working_set_gb": advice.working_set_gb,
        "gpu_gb": advice.question.gpu_gb,
        "points": [{**dataclasses.asdict(one), "cost": one.cost} for one in advice.points],
        "marks": [_mark_json(one) for one in advice.marks],
        "options": [dataclasses.asdict(one) for one in advice.options],
        "servers": advice.question.servers,
        "routing": advice.question.routing,
        "checks": [{**dataclasses.asdict(one), "off": one.off, "kept": one.kept} for one in advice.checks],
        "unknown": [row["text"] for row in problems_of(advice)],
        "verify": advice.verify,
    }  # fmt: skip


def _mark_json(marks: Marks) -> Mapping[str, Any]:
    def size(point: Point | None) -> float | None:
        return None if point is None else point.size_gb

    return {
        "tier": marks.tier, "knee_gb": size(marks.knee), "break_even_gb": marks.break_even_gb, "cheapest_gb": size(marks.cheapest),
        "pays": marks.pays, "pays_at_the_largest_size": marks.largest_pays, "faster_at_the_cheapest": marks.faster,
        "pays_in_gpu_seconds_alone": marks.in_gpu_seconds_alone,
    }  # fmt: skip
