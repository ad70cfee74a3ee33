"""Computes the KV cache that a plan fills, and compares it with a tier."""

from __future__ import annotations

from collections.abc import Iterable

from locust_kvcache.workload.plan import Plan


def working_set_tokens(plan: Plan) -> int:
    """Different prompt tokens of one round: each prefix once, and what each session adds to it (its last turn carries all before)."""
    if plan.tenants:
        return sum(map(working_set_tokens, plan.sent_parts))
    if plan.scenario.trace is not None or plan.scenario.shape is not None or plan.scenario.chunks is not None:
        return sum(turn.prompt_tokens - turn.shared_tokens for turn in plan.turns)
    if plan.corpus is not None:
        return sum(session.turns[-1].prompt_tokens - session.turns[0].shared_tokens for session in plan.sessions)
    prefix_tokens = plan.scenario.prefix_tokens
    return plan.prefixes * prefix_tokens + sum(prompts[-1] - prefix_tokens for prompts in plan.prompts())


def largest_working_set_tokens(plans: Iterable[Plan]) -> int:
    """Of scenarios that run one after another: a later round only needs what its own scenario stored."""
    return max((working_set_tokens(plan) for plan in plans), default=0)
