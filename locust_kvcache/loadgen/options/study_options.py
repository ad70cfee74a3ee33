"""Declares and reads the options of studies: budget, capacity, working set, retention.

A study decides what to send next from what it has seen, or sends nothing at all; a plain run needs none of them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.slo import EXPECTED, parse_slo, parse_times
from locust_kvcache.contract.targets import parse_targets
from locust_kvcache.loadgen.options.declared import LEVELS
from locust_kvcache.loadgen.options.option import number, words
from locust_kvcache.loadgen.options.round_options import check_control
from locust_kvcache.workload.returns import (
    BLOCK_TOKENS,
    DEFAULT_PROMPT_TOKENS,
    DEFAULT_SESSIONS,
    Returns,
    around,
    parse_gaps,
    parse_rates,
)
from locust_kvcache.workload.working_set import parse_sizes

SIDES = ("cold", "hit")
TAKEN_BY_RETENTION = (
    "capacity", "working_set", "noisy_neighbour", "concurrency", "arms", "resume", "nonce", "rounds", "requests", "scenarios", "trace",
    "output_tokens", "request_rate",
)  # fmt: skip


@dataclass(frozen=True)
class StudyOptions:
    """Everything off by default."""

    slo: dict[str, float] = field(default_factory=dict)  # takes the place of the deployment's
    targets: dict[str, float] = field(default_factory=dict)  # over the deployment's and the model's
    dry_run: bool = False
    gpu_hour_price: float | None = None
    gb_month_price: float | None = None
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
    noisy_neighbour: str = ""  # the quiet tenant
    returns: tuple[Returns, ...] = ()  # of a retention study, a run each
    leases_s: dict[str, float] = field(default_factory=dict)  # beside the deployment's


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
        check_control(parsed.control, study)


def _check_noisy(parsed: argparse.Namespace) -> str:
    """The quiet tenant of --noisy-neighbour; empty without."""
    tenant = parsed.noisy_neighbour or ""
    if not tenant:
        return ""
    for name in ("capacity", "working_set", "concurrency", "arms", "resume", "nonce", "trace"):
        if getattr(parsed, name, None):
            raise BadInput(f"--noisy-neighbour decides its runs itself; leave --{name.replace('_', '-')} out")
    if not parsed.request_rate:
        raise BadInput(
            "--noisy-neighbour needs --request-rate, the sessions per second of all tenants together: in a closed loop the quiet tenant "
            "alone would send faster than beside the others"
        )
    check_control(parsed.control, "--noisy-neighbour")
    return str(tenant)


def _returns(parsed: argparse.Namespace) -> tuple[Returns, ...]:
    """Every pressure with every gap, the shortest first; empty without --gaps."""
    gaps, rates = words(parsed.gaps), words(parsed.background)
    if not gaps:
        if rates or words(parsed.lease):
            raise BadInput("--background and --lease are for --gaps, the seconds after which prompts return; add --gaps auto")
        return ()
    for name in TAKEN_BY_RETENTION:
        if getattr(parsed, name, None):
            raise BadInput(f"--gaps decides its runs and requests itself; leave --{name.replace('_', '-')} out")
    if parsed.arrival != "closed":
        raise BadInput(f"--arrival is {parsed.arrival!r}; with --gaps requests have due times by --background: leave it out")
    check_control(parsed.control, "--gaps")
    if not rates:
        raise BadInput(
            "--gaps needs --background, the new prompt tokens per second that turn the caches over: a cache of C tokens is full after "
            "C / that many seconds, e.g. --background 20000"
        )
    tokens = number("prompt-tokens", parsed.prompt_tokens, int, 1) or DEFAULT_PROMPT_TOKENS
    if tokens % BLOCK_TOKENS:
        raise BadInput(f"--prompt-tokens is {tokens}; with --gaps expected a multiple of {BLOCK_TOKENS}")
    sessions = number("returns", parsed.returns, int, 4) or DEFAULT_SESSIONS
    return tuple(
        Returns(low, high, sessions, tokens, rate) for rate in parse_rates(rates) for low, high in around(parse_gaps(gaps))
    )


def _leases(listed: list[str]) -> dict[str, float]:
    found = {}
    for word in listed:
        name, _, seconds = word.partition("=")
        if not name or not seconds:
            raise BadInput(f"--lease is {word!r}; expected NAME=SECONDS, e.g. default_kv_lease_ttl=5")
        found[name] = float(number("lease", seconds, float, 0.001))
    return found


def read_study(parsed: argparse.Namespace) -> StudyOptions:
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
        targets=parse_targets(words(parsed.targets)),
        dry_run=bool(parsed.dry_run),
        gpu_hour_price=number("gpu-hour-price", parsed.gpu_hour_price, float, 0),
        gb_month_price=number("gb-month-price", parsed.gb_month_price, float, 0),
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
        noisy_neighbour=_check_noisy(parsed),
        returns=_returns(parsed),
        leases_s=_leases(words(parsed.lease)),
    )
