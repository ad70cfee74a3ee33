"""Reads and checks Locust's parsed options into one typed Options.

The web form enforces neither type nor choices, so nothing that argparse checked is trusted at test start.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import locust_kvcache.loadgen.options.locust_parser  # noqa: F401  what is read here is declared there
from locust_kvcache.contract.cache_tiers import ARMS
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.failure_limit import FailureLimit, parse_failure_limit
from locust_kvcache.contract.gateway import Headers, body_option, header_option
from locust_kvcache.contract.language import LANGUAGES, default_language
from locust_kvcache.contract.record_files import FORMATS, JSONL, PARQUET
from locust_kvcache.loadgen.options.alert_rules import AlertRule, parse_rules
from locust_kvcache.loadgen.options.load_options import read_gaps, read_levels, read_request_rate
from locust_kvcache.loadgen.options.option import number, words
from locust_kvcache.loadgen.options.round_length import RoundLength, read_round_length
from locust_kvcache.loadgen.options.round_options import read_control, read_repeat, read_warm_up
from locust_kvcache.loadgen.options.study_options import StudyOptions, read_study
from locust_kvcache.loadgen.options.trace_options import read_trace_options
from locust_kvcache.workload.apis import APIS
from locust_kvcache.workload.identity import checked_echo, checked_salt
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.waits import Gaps


@dataclass(frozen=True)
class Options:
    """What the user asked for; None where the scenario or the deployment decides."""

    deployment: Path | None
    headers: Headers
    extra_body: dict[str, Any]
    fold_system: bool
    model: str | None
    scenarios: tuple[str, ...]
    api: str  # in place of the scenario's; empty: the scenario's
    rounds: int | None
    requests: int | None
    prompt_tokens: int | None  # in place of the scenario's lengths
    output_tokens: int | None
    cache_salt: str  # a template, in place of the scenario's; empty: the scenario's
    echo_headers: tuple[str, ...]
    gaps: Gaps  # what becomes of the waits between turns
    concurrency: tuple[int, ...]  # levels of a sweep; empty: Locust's own -u
    output_dir: Path
    run_name: str | None
    seed: int
    nonce: str | None
    arrival: str
    request_rate_per_s: float | None
    burstiness: float
    request_timeout_s: float
    idle_timeout_s: float | None
    outage_limit_s: float
    metrics_interval_s: float
    resume: Path | None
    round_timeout_s: float | None
    round_pause_s: float
    length: RoundLength
    abort_if: tuple[AlertRule, ...]
    allow_loss: bool
    arms: tuple[str, ...]
    control: bool  # a round of fresh prompts beside the cold one
    warm_up: str | int  # auto, off, or a number of requests
    repeat: int  # so many complete runs
    max_failures: FailureLimit
    empty_caches: bool
    settle_timeout_s: float
    preflight_only: bool
    nvml: bool  # power and energy of the master's own GPUs are read
    no_events: bool  # the deployment's `events` are left out
    gate: bool
    report: bool
    png: bool
    records_format: str
    upload: str  # address; empty: nothing is uploaded
    language: str
    study: StudyOptions
    trace: TraceSource | None

    @property
    def replays(self) -> bool:
        """A trace's own times decide; an open loop that was asked for by name takes their place."""
        return self.trace is not None and self.arrival == "closed"


def _language(given: str | None) -> str:
    if given and given not in LANGUAGES:
        raise BadInput(f"--lang is {given!r}; allowed: {', '.join(LANGUAGES)}")
    return given or default_language(os.environ)


def _api(given: str | None) -> str:
    if given and given not in APIS:
        raise BadInput(f"--api is {given!r}; allowed: {', '.join(APIS)}")
    return given or ""


def _arms(parsed: argparse.Namespace) -> tuple[str, ...]:
    arms = tuple(words(parsed.arms))
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise BadInput(f"--arms names {unknown[0]!r}; allowed: {', '.join(ARMS)}")
    if arms and parsed.rounds not in (None, "", len(arms), str(len(arms))):
        raise BadInput(f"--rounds is {parsed.rounds} and --arms names {len(arms)}; leave --rounds out: each arm is a round")
    return arms


def read_options(parsed: argparse.Namespace) -> Options:
    """The typed options; BadInput names the option, the value found and what is allowed."""
    arms = _arms(parsed)
    return Options(
        deployment=Path(parsed.deployment) if parsed.deployment else None,
        headers=header_option(parsed.header or ()),
        extra_body=body_option(parsed.extra_body),
        fold_system=bool(parsed.fold_system),
        model=parsed.model or None,
        scenarios=tuple(name for name in words(parsed.scenarios) if name),
        api=_api(parsed.api),
        rounds=number("rounds", parsed.rounds, int, 1),
        requests=number("requests", parsed.requests, int, 1),
        prompt_tokens=number("prompt-tokens", parsed.prompt_tokens, int, 1),
        output_tokens=number("output-tokens", parsed.output_tokens, int, 1),
        cache_salt=checked_salt(parsed.cache_salt, "--cache-salt") if parsed.cache_salt else "",
        echo_headers=checked_echo(list(parsed.echo_header or ()), "--echo-header"),
        gaps=read_gaps(parsed),
        concurrency=read_levels(parsed),
        output_dir=Path(parsed.output_dir or "results"),
        run_name=_run_name(parsed),
        seed=int(parsed.seed),
        nonce=parsed.nonce or None,
        arrival=parsed.arrival,
        request_rate_per_s=read_request_rate(parsed),
        burstiness=number("burstiness", parsed.burstiness, float, 1e-6) or 1.0,
        request_timeout_s=number("request-timeout", parsed.request_timeout, float, 0.001) or 600.0,
        outage_limit_s=number("outage-limit", parsed.outage_limit, float, 0) or 0.0,
        idle_timeout_s=number("idle-timeout", parsed.idle_timeout, float, 0.001),
        resume=Path(parsed.resume) if parsed.resume else None,
        round_timeout_s=number("round-timeout", parsed.round_timeout, float, 0.001),
        round_pause_s=number("round-pause", parsed.round_pause, float, 0) or 0.0,
        length=read_round_length(parsed),
        abort_if=parse_rules(parsed.abort_if or ()),
        allow_loss=bool(parsed.allow_loss),
        arms=arms,
        control=read_control(parsed.control, arms),
        warm_up=read_warm_up(parsed.warm_up),
        repeat=read_repeat(parsed),
        max_failures=parse_failure_limit(parsed.max_failures),
        empty_caches=bool(parsed.empty_caches),
        settle_timeout_s=number("settle-timeout", parsed.settle_timeout, float, 3) or 60.0,
        preflight_only=bool(parsed.preflight_only),
        nvml=bool(parsed.nvml),
        no_events=bool(parsed.no_events),
        metrics_interval_s=number("metrics-interval", parsed.metrics_interval, float, 0) or 0.0,
        gate=bool(parsed.gate),
        report=not parsed.no_report,
        png=bool(parsed.png),
        records_format=_records_format(parsed),
        upload=parsed.upload or "",
        language=_language(parsed.lang),
        study=read_study(parsed),
        trace=read_trace_options(parsed),
    )


def _records_format(parsed: argparse.Namespace) -> str:
    given = parsed.records_format or JSONL
    if given not in FORMATS:
        raise BadInput(f"--records-format is {given!r}; allowed: {', '.join(FORMATS)}")
    if given == PARQUET and parsed.capacity:
        raise BadInput(
            f"--records-format is {PARQUET}, and --capacity reads its records between rounds; leave --records-format out"
        )
    return str(given)


def _run_name(parsed: argparse.Namespace) -> str | None:
    name: str | None = parsed.run_name or None
    if name and (Path(name).name != name or name in (".", "..")):
        raise BadInput(f"--run-name is {name!r}; expected a plain folder name")
    return name
