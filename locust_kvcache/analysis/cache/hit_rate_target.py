"""Judges the target on the hit rate: how much of the prompts the hit rounds found in the cache.

It needs neither times nor a comparison, only evidence: the servers' counters, or the cached tokens of the answers, as far as they are
accepted. Where the rate is not known from them, the target is not judged. A rate of 0 that is known is a missed target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from locust_kvcache.analysis.basics.number_text import listed, percent
from locust_kvcache.analysis.cache.claims import NO_FAILURE, why_not_whole
from locust_kvcache.analysis.cache.round_evidence import ALL_SEEN, ELSEWHERE, RoundFacts
from locust_kvcache.analysis.stats.targets import FAIL, PASS, RUN_TARGETS, is_number, not_judged
from locust_kvcache.contract.failure_limit import FailureLimit
from locust_kvcache.contract.round_kinds import HIT
from locust_kvcache.contract.targets import HIT_RATE


def judge(
    targets: Mapping[str, Any],
    facts: Mapping[str, Sequence[RoundFacts]],
    complete: bool = True,
    limit: FailureLimit = NO_FAILURE,
    arms: bool = False,
) -> list[dict[str, Any]]:
    """A row per scenario over all its hit rounds; with `arms` a row for each hit round. None without a threshold."""
    threshold = targets.get(HIT_RATE)
    if threshold is None:
        return []
    found = []
    for scenario, rounds in facts.items():
        hits = [one for one in rounds if one.kind == HIT]
        groups = [[one] for one in hits] if arms and hits else [hits]
        why = why_not_whole([one for mine in facts.values() for one in mine], complete, limit)
        found += [_judge(threshold, scenario, group, why or _why_not(group), arms) for group in groups]
    return found


def _judge(threshold: Any, scenario: str, hits: Sequence[RoundFacts], why: str, arms: bool) -> dict[str, Any]:
    which = f", round {hits[0].number}" if arms and hits else ""
    if why or not is_number(threshold):
        return not_judged(HIT_RATE, threshold, scenario, why, which)
    value = hit_rate(hits)
    text, _, _, kind, minimum = RUN_TARGETS[HIT_RATE]
    evidence = f"evidence: {listed(dict.fromkeys(one.evidence for one in hits))}"
    return {
        "target": HIT_RATE,
        "text": f"{text}, {evidence}{which}",
        "scenario": scenario,
        "split": None,
        "kind": kind,
        "minimum": minimum,
        "threshold": float(threshold),
        "value": value,
        "low": None,  # tokens are counted, not sampled
        "high": None,
        "verdict": PASS if value >= threshold else FAIL,
        "certain": True,
        "why": "",
    }


def hit_rate(hits: Sequence[RoundFacts]) -> float:
    """Cached tokens / prompt tokens, summed over rounds of which both are known."""
    return sum(one.cached_tokens or 0.0 for one in hits) / sum(one.prompt_tokens or 0.0 for one in hits)


def _why_not(hits: Sequence[RoundFacts]) -> str:
    """Empty where the hit rate of these rounds is known."""
    if not hits:
        return "the run has no hit round"
    return next((why for one in hits if (why := _unknown(one))), "")


def _unknown(one: RoundFacts) -> str:
    """Why the hit rate of one round is not known."""
    where, by_counters = f"round {one.number}", one.evidence.startswith("counters")
    low, high = ALL_SEEN
    if one.recorded == one.failed:
        return f"no request succeeded in {where}"
    strange = one.seen_share is not None and not low <= one.seen_share <= high
    if one.served == ELSEWHERE or (by_counters and strange):
        return f"in {where} the servers counted {percent(one.seen_share)} of the prompt tokens that were sent"
    if one.cached_tokens is None and one.rejected:
        return f"the reported cached tokens are rejected, and there are no counters for {where}"
    if one.cached_tokens is None and one.cached_known:
        return f"only {one.cached_known} of {one.recorded - one.failed} requests of {where} report cached tokens, and there are no counters"
    if one.cached_tokens is None:
        return f"the server reports no cached tokens in {where}, and there are no counters"
    return "" if one.prompt_tokens else f"the number of prompt tokens of {where} is not known"
