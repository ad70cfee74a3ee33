"""Locust's parsed options come in, one typed Options goes out; every option is declared here, and checked here again at each start.

The web form enforces neither type nor choices, so nothing that argparse checked is trusted at test start.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust import events

from locust_kvcache.contract.cache_tiers import ARMS
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.loadgen.options.study_options import StudyOptions, declare, read_study
from locust_kvcache.loadgen.options.trace_options import declare_trace, read_trace_options
from locust_kvcache.loadgen.typed_locust import listen
from locust_kvcache.workload.trace import TraceSource

ARRIVALS = ("closed", "constant", "poisson", "gamma")
FORM = (  # the web UI's start form; the rest is for a command line: exit codes, folders, studies
    "deployment", "model", "scenarios", "rounds", "requests", "concurrency", "arrival", "request_rate", "burstiness", "arms",
    "empty_caches", "preflight_only", "request_timeout", "round_timeout", "round_pause", "metrics_interval", "run_name", "seed", "nonce",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What the user asked for; None where the scenario or the deployment decides."""

    deployment: Path | None
    model: str | None
    scenarios: tuple[str, ...]
    rounds: int | None
    requests: int | None
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
    metrics_interval_s: float
    resume: Path | None
    round_timeout_s: float | None
    round_pause_s: float
    allow_loss: bool
    arms: tuple[str, ...]
    empty_caches: bool
    preflight_only: bool
    gate: bool
    report: bool
    study: StudyOptions
    trace: TraceSource | None

    @property
    def replays(self) -> bool:
        """A trace's own times decide; an open loop that was asked for by name takes their place."""
        return self.trace is not None and self.arrival == "closed"


def _number(name: str, value: Any, kind: type, low: float) -> Any:
    if value is None or value == "":
        return None
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not number >= low:
        what = "a whole number" if kind is int else "a number"
        raise BadInput(f"--{name} is {value!r}; expected {what} of at least {low:g}")
    return number


def _arg(name: str, kind: type, low: float) -> Any:
    def parse(text: str) -> Any:
        try:
            return _number(name, text, kind, low)
        except BadInput as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def _declare(parser: Any) -> None:
    group = parser.add_argument_group("KV cache load test")
    _declare_what(group.add_argument)
    _declare_how(group.add_argument)
    _declare_output(group.add_argument)
    declare_trace(group, _arg)
    declare(group, _arg)
    for action in group._group_actions:  # Locust asks for its own mark, which a group's add_argument does not set
        action.include_in_web_ui = action.dest in FORM


listen(events.init_command_line_parser, _declare)


def _declare_what(add: Any) -> None:
    """What is sent, to whom."""
    add("--deployment", metavar="FILE", default="", env_var="KV_DEPLOYMENT",
        help="YAML of the deployment under test (configs/pd_disagg.yaml, ...). Without it, --host is enough")  # fmt: skip
    add("--model", metavar="NAME", default="", env_var="KV_MODEL",
        help="Model name to request. Default: the deployment's, else the only one that the server lists")  # fmt: skip
    add("--scenarios", metavar="NAME", nargs="*", default="", env_var="KV_SCENARIOS",
        help="Scenarios (names, or YAML files) to run one after another. Default: those of the loaded locustfiles")  # fmt: skip
    add("--rounds", metavar="N", type=_arg("rounds", int, 1), default=None, env_var="KV_ROUNDS",
        help="Rounds per scenario: round 1 is cold, later ones repeat it. Default: the scenario's (2)")  # fmt: skip
    add("--requests", metavar="N", type=_arg("requests", int, 1), default=None, env_var="KV_REQUESTS",
        help="Planned requests per round. Default: the scenario's")  # fmt: skip
    add("--concurrency", metavar="N", nargs="*", default="", env_var="KV_CONCURRENCY",
        help="Users, one run after another with each number (1 5 10), each with a nonce of its own and so its own cold round; "
             "instead of -u. The runs are compared at the end")  # fmt: skip
    add("--output-dir", metavar="DIR", default="results", env_var="KV_OUTPUT_DIR",
        help="Folder that gets a folder per run. Default: results")  # fmt: skip
    add("--run-name", metavar="NAME", default="", env_var="KV_RUN_NAME",
        help="Name of the run's folder. Default: <deployment>_<model>_<time>")  # fmt: skip
    add("--seed", metavar="N", type=int, default=1, env_var="KV_SEED",
        help="Seed of texts, sizes and arrivals. Default: 1")  # fmt: skip
    add("--nonce", metavar="HEX", default="", env_var="KV_NONCE",
        help="Stands at the start of every prefix. Default: fresh for each run, so that no cache knows the prompts; "
             "set it only to repeat a run's prompts on purpose")  # fmt: skip


def _declare_how(add: Any) -> None:
    """How it is sent, and what is done between."""
    add("--arrival", choices=ARRIVALS, default="closed", env_var="KV_ARRIVAL",
        help="closed: each user sends its next request when the last one has ended. Others: open loop at --request-rate")  # fmt: skip
    add("--request-rate", metavar="R", type=_arg("request-rate", float, 1e-6), default=None, env_var="KV_REQUEST_RATE",
        help="Session starts per second over all workers together, for an open loop")  # fmt: skip
    add("--burstiness", metavar="B", type=_arg("burstiness", float, 1e-6), default=1.0, env_var="KV_BURSTINESS",
        help="Shape of gamma arrivals: 1 is Poisson, below 1 burstier, above 1 more even. Default: 1")  # fmt: skip
    add("--request-timeout", metavar="S", type=_arg("request-timeout", float, 0.001), default=600.0, env_var="KV_REQUEST_TIMEOUT",
        help="Seconds until a request that is not complete fails. Default: 600")  # fmt: skip
    add("--idle-timeout", metavar="S", type=_arg("idle-timeout", float, 0.001), default=None, env_var="KV_IDLE_TIMEOUT",
        help="Seconds without a single byte until a request fails; must exceed the worst TTFT. Default: none")  # fmt: skip
    add("--resume", metavar="RUN", default="", env_var="KV_RESUME",
        help="Folder of a cut run to go on with, after its last complete round; the other options as they were")  # fmt: skip
    add("--round-timeout", metavar="S", type=_arg("round-timeout", float, 0.001), default=None, env_var="KV_ROUND_TIMEOUT",
        help="Seconds until a round that is not done ends the run, naming who still has what. Default: none")  # fmt: skip
    add("--round-pause", metavar="S", type=_arg("round-pause", float, 0), default=0.0, env_var="KV_ROUND_PAUSE",
        help="Seconds without load between rounds. Default: 0")  # fmt: skip
    add("--allow-loss", action="store_true", default=False, env_var="KV_ALLOW_LOSS",
        help="Exit 0 although a worker was lost and requests that it may have sent are marked lost")  # fmt: skip
    add("--arms", metavar="ARM", nargs="*", default="", env_var="KV_ARMS",
        help="Rounds by the tier that is to answer: cold, gpu_hit, cpu_hit, store_hit. Before a cpu_hit or store_hit arm the "
             "tiers above it are emptied as the deployment's `caches` say. Instead of --rounds")  # fmt: skip
    add("--empty-caches", action="store_true", default=False, env_var="KV_EMPTY_CACHES",
        help="Before each scenario's first round empty every tier in the deployment's `caches`, and prove it with a canary")  # fmt: skip
    add("--preflight-only", action="store_true", default=False, env_var="KV_PREFLIGHT_ONLY",
        help="Check the deployment, say what is missing and what to do about it, and end; tries the actions of the "
             "deployment's `caches`: they empty its caches")  # fmt: skip


def _declare_output(add: Any) -> None:
    """What is watched and written."""
    add("--metrics-interval", metavar="S", type=_arg("metrics-interval", float, 0), default=2.0, env_var="KV_METRICS_INTERVAL",
        help="Seconds between samples of the metrics pages in a round; 0: only before and after. Default: 2")  # fmt: skip
    add("--metrics-port", metavar="[HOST:]PORT", default="", env_var="KV_METRICS_PORT",
        help="Serve the client's own metrics for Prometheus at http://HOST:PORT/metrics (master, headless too). Default: only as "
             "/metrics of Locust's page; HOST: 127.0.0.1")  # fmt: skip
    add("--gate", action="store_true", default=False, env_var="KV_GATE",
        help="Exit non-zero when a target is missed (1), or the run is incomplete (2)")  # fmt: skip
    add("--no-report", action="store_true", default=False, env_var="KV_NO_REPORT",
        help="Write stats.json, but no report/ at the end of the run")  # fmt: skip


def _words(given: Any) -> list[str]:
    """A list from the command line; text from the web form, whose empty list would want numbers."""
    return [str(word) for word in given] if isinstance(given, list) else str(given).replace(",", " ").split()


def _levels(parsed: argparse.Namespace) -> tuple[int, ...]:
    levels = tuple(_number("concurrency", word, int, 1) for word in _words(parsed.concurrency))
    if len(set(levels)) < len(levels):
        raise BadInput(f"--concurrency names a level twice: {' '.join(map(str, levels))}; name each once")
    if levels and parsed.arrival != "closed":
        raise BadInput(f"--concurrency is for --arrival closed; with {parsed.arrival} the load is --request-rate")
    if levels and parsed.resume:
        raise BadInput("--resume goes on with one run: give it without --concurrency, with -u as that run's level was")
    return levels


def _arms(parsed: argparse.Namespace) -> tuple[str, ...]:
    arms = tuple(_words(parsed.arms))
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise BadInput(f"--arms names {unknown[0]!r}; allowed: {', '.join(ARMS)}")
    if arms and parsed.rounds not in (None, "", len(arms), str(len(arms))):
        raise BadInput(f"--rounds is {parsed.rounds} and --arms names {len(arms)}; leave --rounds out: each arm is a round")
    return arms


def metrics_address(text: str) -> tuple[str, int] | None:
    """--metrics-port as (host, port); None where it is not given."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadInput(f"--metrics-port is {text!r}; expected PORT or HOST:PORT, a port from 1 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def read_options(parsed: argparse.Namespace) -> Options:
    """The typed options; BadInput names the option, the value found and what is allowed."""
    arrival = parsed.arrival
    if arrival not in ARRIVALS:
        raise BadInput(f"--arrival is {arrival!r}; allowed: {', '.join(ARRIVALS)}")
    rate = _number("request-rate", parsed.request_rate, float, 1e-6)
    if arrival != "closed" and rate is None and not parsed.capacity:
        raise BadInput(f"--arrival {arrival} needs --request-rate (session starts per second, over all workers)")
    names = _words(parsed.scenarios)
    concurrency = _levels(parsed)
    run_name = parsed.run_name or None
    if run_name and (Path(run_name).name != run_name or run_name in (".", "..")):
        raise BadInput(f"--run-name is {run_name!r}; expected a plain folder name")
    return Options(
        deployment=Path(parsed.deployment) if parsed.deployment else None,
        model=parsed.model or None,
        scenarios=tuple(name for name in names if name),
        rounds=_number("rounds", parsed.rounds, int, 1),
        requests=_number("requests", parsed.requests, int, 1),
        concurrency=concurrency,
        output_dir=Path(parsed.output_dir or "results"),
        run_name=run_name,
        seed=int(parsed.seed),
        nonce=parsed.nonce or None,
        arrival=arrival,
        request_rate_per_s=rate,
        burstiness=_number("burstiness", parsed.burstiness, float, 1e-6) or 1.0,
        request_timeout_s=_number("request-timeout", parsed.request_timeout, float, 0.001) or 600.0,
        idle_timeout_s=_number("idle-timeout", parsed.idle_timeout, float, 0.001),
        resume=Path(parsed.resume) if parsed.resume else None,
        round_timeout_s=_number("round-timeout", parsed.round_timeout, float, 0.001),
        round_pause_s=_number("round-pause", parsed.round_pause, float, 0) or 0.0,
        allow_loss=bool(parsed.allow_loss),
        arms=_arms(parsed),
        empty_caches=bool(parsed.empty_caches),
        preflight_only=bool(parsed.preflight_only),
        metrics_interval_s=_number("metrics-interval", parsed.metrics_interval, float, 0) or 0.0,
        gate=bool(parsed.gate),
        report=not parsed.no_report,
        study=read_study(parsed, _number, _words),
        trace=read_trace_options(parsed, _number),
    )
