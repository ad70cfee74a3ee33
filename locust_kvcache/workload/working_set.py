"""Chooses the working sets of a sweep, and cuts or grows the scenario to fill each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.footprint import working_set_tokens
from locust_kvcache.workload.spec import Scenario

AROUND = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # of each tier's capacity
CLOSEST = 1.1  # sizes nearer to one another tell nothing new


def sweep_sizes(capacities_tokens: Mapping[str, float]) -> tuple[int, ...]:
    """From half of the smallest tier to twice the largest, dense around each; BadInput where no capacity is known."""
    if not capacities_tokens:
        raise BadInput(
            "--working-set auto: no server reports a cache size (vllm:cache_config_info, master_total_capacity_bytes) and the deployment "
            "file has no `capacity`; give sizes in tokens: --working-set 50000 100000 200000"
        )
    wanted = sorted(factor * tokens for tokens in capacities_tokens.values() for factor in AROUND)
    sizes: list[float] = []
    for size in wanted:
        if not sizes or size >= CLOSEST * sizes[-1]:
            sizes.append(size)
    return tuple(round(size) for size in sizes)


def filling(scenario: Scenario, tokens: int, seed: int) -> tuple[Scenario, int]:
    """The scenario with as many requests as fill about `tokens`, and the exact working set of its plan."""
    if any(part.corpus is not None for part in scenario.parts):
        raise BadInput(f"--working-set: {scenario.name} is made of files and cannot grow; use cold_start, or any of made-up text")
    if any(part.prefix_shared_by == 0 for part in scenario.parts):
        raise BadInput(
            f"--working-set: {scenario.name} shares one prefix among all sessions and cannot grow; use cold_start, or any with own prefixes"
        )
    per_request = working_set_tokens(dry_plan(scenario, seed)) / scenario.requests
    sized = scenario.with_requests(max(1, round(tokens / per_request)))
    for _ in range(3):  # sizes are drawn, so a correction or two bring the plan's own sum to the mark
        exact = working_set_tokens(dry_plan(sized, seed))
        better = max(1, sized.requests + math.floor((tokens - exact) / per_request + 0.5))
        if better == sized.requests:
            break
        sized = scenario.with_requests(better)
    return sized, working_set_tokens(dry_plan(sized, seed))


def parse_sizes(words: Iterable[str]) -> tuple[int, ...] | None:
    """Sizes in tokens, ascending; None for auto. BadInput names what is neither."""
    listed = list(words)
    if listed == ["auto"]:
        return None
    if any(not word.isdigit() or int(word) < 1 for word in listed) or len(set(listed)) < len(listed):
        raise BadInput(
            f"--working-set is {' '.join(listed)!r}; expected auto, or different whole numbers of tokens, e.g. 50000 100000 200000"
        )
    return tuple(sorted(int(word) for word in listed))
