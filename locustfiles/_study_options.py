"""Options of studies (budget, capacity, working set) come in from Locust's parser, one typed StudyOptions goes out.

A study decides what to send next from what it has seen, or sends nothing at all; a plain run needs none of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenarios.errors import BadInput
from scenarios.slo import EXPECTED, parse_slo, parse_times


@dataclass(frozen=True)
class StudyOptions:
    """Everything off by default."""

    slo: dict[str, float] = field(default_factory=dict)  # takes the place of the deployment's
    dry_run: bool = False
    gpu_hour_price: float | None = None
    expect: dict[str, float] = field(default_factory=dict)
    expect_from: Path | None = None


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


def read_study(parsed: argparse.Namespace, number: Callable[..., Any], words: Callable[[Any], list[str]]) -> StudyOptions:
    """The typed options; BadInput names the option, the value found and what is allowed."""
    expect_from = Path(parsed.expect_from) if parsed.expect_from else None
    if expect_from is not None and expect_from.is_dir():
        expect_from /= "stats.json"
    if expect_from is not None and not expect_from.is_file():
        raise BadInput(f"--expect-from is {str(expect_from)!r}; there is no such file. Give the folder of an analysed run")
    return StudyOptions(
        slo=parse_slo(words(parsed.slo)),
        dry_run=bool(parsed.dry_run),
        gpu_hour_price=number("gpu-hour-price", parsed.gpu_hour_price, float, 0),
        expect=parse_times("--expect", words(parsed.expect), EXPECTED),
        expect_from=expect_from,
    )
