"""Options of studies (budget, capacity, working set) come in from Locust's parser, one typed StudyOptions goes out.

A study decides what to send next from what it has seen, or sends nothing at all; a plain run needs none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.slo import EXPECTED, parse_slo, parse_times
from locust_kvcache.workload.working_set import parse_sizes

SIDES = ("cold", "hit")
LEVELS = ("rate", "users")


@dataclass(frozen=True)
class StudyOptions:
    """Everything off by default."""

    slo: dict[str, float] = field(default_factory=dict)  # takes the place of the deployment's
    dry_run: bool = False
    gpu_hour_price: float | None = None
    expect: dict[str, float] = field(default_factory=dict)
    expect_from: Path | None = None
    capacity: tuple[str, ...] = ()  # sides to search: cold, hit
    capacity_of: str = "rate"  # what is searched: rate | users
    capacity_share: float = 0.9  # of the requests, within each objective
    capacity_tolerance: float = 0.05
    capacity_repeats: int = 3
    capacity_steps: int = 24
    sweeps_working_set: bool = False
    working_set: tuple[int, ...] | None = None  # tokens; None: by what the servers report


def declare(group: Any, number: Callable[..., Any]) -> None:
    """`number(name, kind, low)` makes a checked argparse type."""
    add = group.add_argument
    add("--slo", metavar="NAME=MS", nargs="*", default="", env_var="KV_SLO",
        help="Objectives in ms: ttft_ms=2000 tpot_ms=50 e2e_ms=... Default: the deployment's `slo`")  # fmt: skip
    add("--dry-run", action="store_true", default=False, env_var="KV_DRY_RUN",
        help="Send nothing: print requests, tokens, duration, cache footprint per tier and cost (docs/budget.md), and end")  # fmt: skip
    add("--gpu-hour-price", metavar="X", type=number("gpu-hour-price", float, 0), default=None, env_var="KV_GPU_HOUR_PRICE",
        help="Price of one GPU for one hour, for the cost in --dry-run")  # fmt: skip
    add("--expect", metavar="NAME=MS", nargs="*", default="", env_var="KV_EXPECT",
        help="Times that --dry-run reckons with: cold_ttft_ms=1200 hit_ttft_ms=300 tpot_ms=20")  # fmt: skip
    add("--expect-from", metavar="RUN", default="", env_var="KV_EXPECT_FROM",
        help="Folder or stats.json of a former run, whose times --dry-run reckons with")  # fmt: skip
    add("--capacity", metavar="SIDE", nargs="*", default="", env_var="KV_CAPACITY",
        help="Search the highest rate that meets the objectives: cold, hit, or both (docs/capacity.md). Open loop; poisson unless "
             "--arrival says otherwise; --requests of each step (default: at least 200); -u must cover what is in flight")  # fmt: skip
    add("--capacity-of", choices=LEVELS, default="rate", env_var="KV_CAPACITY_OF",
        help="What --capacity searches: the rate of an open loop, or the users of a closed one, from -u on. Default: rate")  # fmt: skip
    add("--capacity-share", metavar="Q", type=number("capacity-share", float, 0.01), default=0.9, env_var="KV_CAPACITY_SHARE",
        help="Share of the requests that must be within each objective. Default: 0.9")  # fmt: skip
    add("--capacity-tolerance", metavar="X", type=number("capacity-tolerance", float, 0.001), default=0.05,
        env_var="KV_CAPACITY_TOLERANCE", help="Width at which the search stops: 0.05 is 5 %%. Default: 0.05")  # fmt: skip
    add("--capacity-repeats", metavar="N", type=number("capacity-repeats", int, 1), default=3, env_var="KV_CAPACITY_REPEATS",
        help="Measurements that must agree at both ends of the interval. Default: 3")  # fmt: skip
    add("--capacity-steps", metavar="N", type=number("capacity-steps", int, 2), default=24, env_var="KV_CAPACITY_STEPS",
        help="Steps after which a search ends, found or not. Default: 24")  # fmt: skip
    add("--working-set", metavar="TOKENS", nargs="*", default="", env_var="KV_WORKING_SET",
        help="A run of two rounds for each size of the working set in tokens; auto: around what the servers say they hold")  # fmt: skip


def _check(parsed: argparse.Namespace, capacity: tuple[str, ...], share: float, sweeps: bool) -> None:
    if unknown := [side for side in capacity if side not in SIDES]:
        raise BadInput(f"--capacity is {unknown[0]!r}; allowed: {', '.join(SIDES)}")
    if len(set(capacity)) < len(capacity):
        raise BadInput(f"--capacity names a side twice: {' '.join(capacity)}; name each once")
    if not share < 1:
        raise BadInput(f"--capacity-share is {share:g}; expected less than 1, e.g. 0.9 for p90")
    if parsed.capacity_of not in LEVELS:
        raise BadInput(f"--capacity-of is {parsed.capacity_of!r}; allowed: {', '.join(LEVELS)}")
    if parsed.capacity_of == "users" and (parsed.arrival != "closed" or parsed.request_rate):
        raise BadInput("--capacity-of users is a closed loop; leave --arrival and --request-rate out")
    study = "--capacity" if capacity else "--working-set" if sweeps else ""
    if study:
        if capacity and sweeps:
            raise BadInput("--capacity and --working-set are two studies; run one after the other")
        for name in ("concurrency", "arms", "resume", "nonce", "rounds"):
            if getattr(parsed, name, None):
                raise BadInput(f"{study} decides its runs and rounds itself; leave --{name} out")


def read_study(parsed: argparse.Namespace, number: Callable[..., Any], words: Callable[[Any], list[str]]) -> StudyOptions:
    """The typed options; BadInput names the option, the value found and what is allowed."""
    expect_from = Path(parsed.expect_from) if parsed.expect_from else None
    if expect_from is not None and expect_from.is_dir():
        expect_from /= "stats.json"
    if expect_from is not None and not expect_from.is_file():
        raise BadInput(f"--expect-from is {str(expect_from)!r}; there is no such file. Give the folder of an analysed run")
    capacity, sizes = tuple(words(parsed.capacity)), words(parsed.working_set)
    share = number("capacity-share", parsed.capacity_share, float, 0.01) or 0.9
    _check(parsed, capacity, share, bool(sizes))
    return StudyOptions(
        slo=parse_slo(words(parsed.slo)),
        dry_run=bool(parsed.dry_run),
        gpu_hour_price=number("gpu-hour-price", parsed.gpu_hour_price, float, 0),
        expect=parse_times("--expect", words(parsed.expect), EXPECTED),
        expect_from=expect_from,
        capacity=capacity,
        capacity_of=parsed.capacity_of,
        capacity_share=share,
        capacity_tolerance=number("capacity-tolerance", parsed.capacity_tolerance, float, 0.001) or 0.05,
        capacity_repeats=number("capacity-repeats", parsed.capacity_repeats, int, 1) or 3,
        capacity_steps=number("capacity-steps", parsed.capacity_steps, int, 2) or 24,
        sweeps_working_set=bool(sizes),
        working_set=parse_sizes(sizes) if sizes else None,
    )
