"""Builds the demand of `advise` from its options (part of a trace, or a scenario's plan), and the command of a verifying run."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

import numpy as np

from locust_kvcache.analysis.advice.demand import Demand, requests_of
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.budget import dry_plan
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.traces.loading import NO_PREFIXES, NONE, load_rows
from locust_kvcache.workload.traces.replay import replay_scenario
from locust_kvcache.workload.traces.source import TIME_UNITS, TraceSource

MOST_REQUESTS = 200_000
TRACE_OPTIONS = ("trace_window", "trace_speed", "trace_time_unit", "trace_sample", "trace_block_size", "trace_block_tokens")


def add_demand(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is sent")
    group.add_argument(
        "--trace", metavar="FILE", help="trace file, in any format of `run --trace`; requests are sent at the times of the trace"
    )
    group.add_argument(
        "--trace-window",
        metavar="START:STOP",
        help="part of the trace, in seconds of the trace's own clock: 600:1200 (default: all)",
    )
    group.add_argument(
        "--trace-speed", type=float, metavar="X", help="speed of the replay; 2 is twice as fast as recorded (default: 1)"
    )
    group.add_argument("--trace-time-unit", choices=TIME_UNITS, help="unit of the trace's timestamps (default: by the format)")
    group.add_argument(
        "--trace-sample",
        type=float,
        metavar="SHARE",
        help="share of the prompt families (same first two blocks) to keep (default: 1)",
    )
    group.add_argument(
        "--trace-block-size", type=int, metavar="N", help="tokens per hash_id of the file (default: 512; 16 for Bailian's traces)"
    )
    group.add_argument("--trace-block-tokens", type=int, metavar="N", help="tokens to send per block (default: as in the file)")
    group.add_argument("--scenario", metavar="NAME", help="scenario (name or file); needs --users or --request-rate")
    group.add_argument(
        "--users", type=int, metavar="N", help="closed loop: number of users; each takes one session after another"
    )
    group.add_argument("--request-rate", type=float, metavar="R", help="open loop: session starts per second, Poisson")
    group.add_argument("--requests", type=int, metavar="N", help="use only the first N requests (default: all)")
    group.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="rounds of the scenario; the figures are those of the last round (default: the scenario's)",
    )
    group.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the scenario's texts and lengths (default: 1)")


def demand_of(args: argparse.Namespace) -> Demand:
    if (args.trace is None) == (args.scenario is None):
        raise BadInput(f"--trace or --scenario: {'none is' if args.trace is None else 'both are'} given; expected one of them")
    for name in (
        "trace_speed",
        "trace_sample",
        "trace_block_size",
        "trace_block_tokens",
        "users",
        "request_rate",
        "requests",
        "rounds",
    ):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise BadInput(f"--{name.replace('_', '-')} is {value:g}; expected more than 0")
    scenario = _replay(args) if args.trace is not None else _scenario(args)
    if args.requests is not None:
        scenario = scenario.with_requests(args.requests)
    if scenario.requests > MOST_REQUESTS:
        raise BadInput(
            f"{scenario.name} has {scenario.requests:,} requests; expected at most {MOST_REQUESTS:,}: add --requests N"
        )
    plan = dry_plan(scenario, args.seed)
    timed = plan.due_s is not None
    return Demand(
        name=scenario.name if args.trace is None else args.trace.rpartition("/")[2],
        requests=requests_of(plan),
        rounds=1 if timed else args.rounds or scenario.rounds,
        due_s=np.asarray(plan.due_s, dtype=np.float64) if plan.due_s is not None else None,
        users=None if timed else args.users,
        rate_per_s=None if timed else args.request_rate,
        notes=scenario.file_notes,
        doubt=load_rows(scenario.trace).warning if scenario.trace is not None else None,
    )


def _scenario(args: argparse.Namespace) -> Scenario:
    if given := [name for name in TRACE_OPTIONS if getattr(args, name) is not None]:
        raise BadInput(f"--{given[0].replace('_', '-')} is given without a trace; expected it with --trace FILE")
    if (args.users is None) == (args.request_rate is None):
        raise BadInput(
            f"--users or --request-rate: {'none is' if args.users is None else 'both are'} given; expected one of them with --scenario"
        )
    return load_scenario(args.scenario)


def _replay(args: argparse.Namespace) -> Scenario:
    for name in ("users", "request_rate", "rounds"):
        if getattr(args, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise BadInput(
                f"{option} is given with --trace, whose requests have times of their own; leave {option} out (--trace-speed)"
            )
    start_s, stop_s = _window(args.trace_window)
    source = TraceSource(
        args.trace, speed=args.trace_speed or 1.0, start_s=start_s, stop_s=stop_s, sample=args.trace_sample or 1.0,
        block_size=args.trace_block_size, block_tokens=args.trace_block_tokens, time_unit=args.trace_time_unit,
    )  # fmt: skip
    scenario = replay_scenario(source)
    if scenario.trace is not None and scenario.trace.prefixes == NONE:
        raise BadInput(f"{args.trace}: {NO_PREFIXES}; expected a trace with hash_ids")
    return scenario


def _window(text: str | None) -> tuple[float, float | None]:
    start, _, stop = (text or ":").partition(":")
    try:
        found = float(start or 0), float(stop) if stop else None
    except ValueError:
        found = -1.0, None
    if found[0] < 0 or (text and ":" not in text) or (found[1] is not None and found[1] <= found[0]):
        raise BadInput(f"--trace-window is {text!r}; expected START:STOP in seconds, such as 600:1200, either may be left out")
    return found


def verify_command(args: argparse.Namespace, demand: Demand, open_requests: int) -> str:
    """The run that sends this demand; `open_requests`: most at once, which an open loop needs as users."""
    words = ["locust-kvcache", "run"]
    words += ["trace_replay"] if args.trace is not None else [str(args.scenario)]
    users = demand.users or max(1, 2 * open_requests)
    words += ["--headless", "-u", str(users), "-r", str(users), "--host", "http://SERVER:8000"]
    if args.trace is not None:
        words += ["--trace", args.trace, *_given(args, TRACE_OPTIONS)]
    elif demand.rate_per_s is not None:
        words += ["--arrival", "poisson", "--request-rate", f"{demand.rate_per_s:g}"]
    words += _given(args, ("requests", "rounds"))
    if args.seed != 1:
        words += ["--seed", str(args.seed)]
    return shlex.join([*words, "--run-name", "advise"])


def _given(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    return [
        word
        for name in names
        if getattr(args, name) is not None
        for word in (f"--{name.replace('_', '-')}", str(getattr(args, name)))
    ]
