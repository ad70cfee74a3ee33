"""Declares the emulator's command line and its help."""

from __future__ import annotations

import argparse
import os

from locust_kvcache.emulator import faults
from locust_kvcache.emulator.deployment import PROXIES
from locust_kvcache.emulator.routing import POLICIES, Guard
from locust_kvcache.emulator.spec import ROLES, available_profiles

DESCRIPTION = (
    "Starts an emulated OpenAI-compatible server. It simulates the KV cache and the timing of a real server. "
    "GET /truth says what it cached."
)
EPILOG = f"""examples:
  locust-kvcache emulator --port 8000 --time-scale 0.02       a single 72B server, 50 times faster than a real one
  locust-kvcache emulator --port 9000 --role pd               prefill and decode on separate servers, behind one address
  locust-kvcache emulator --profile deepseek_671b --role pd
  locust-kvcache emulator --port 9000 --role pd --prefillers 2 --decoders 3         pages at /metrics/prefiller-1 to /metrics/decoder-3
  locust-kvcache emulator --role store --port 9004            four processes, as on a cluster: the store,
  locust-kvcache emulator --role prefiller --port 8100 --store http://127.0.0.1:9004
  locust-kvcache emulator --role decoder --port 8200 --store http://127.0.0.1:9004
  locust-kvcache emulator --role proxy --port 9000 --prefiller http://127.0.0.1:8100 --decoder http://127.0.0.1:8200
  locust-kvcache emulator --port 9100 --role fleet --engines 4 --routing prefix     a router at 9100, four engines at 9101 to 9104
  locust-kvcache emulator --fault no_done@0.1 --fault stall=3@0.05      10 % of the streams end without [DONE], 5 % stall for 3 s

routing (--routing), how role fleet chooses the engine of a request:
{chr(10).join(f"  {name:<14} {text}" for name, text in POLICIES.items())}

what the emulator knows (the truth), and faults while it runs:
  GET /truth         one JSON line per request: arrival, queue, prefill, loads and cached tokens per tier, each token due and sent,
                     in ns of the monotonic clock; the first line says how late the emulator itself was
  x-truth: 1         a request with this header gets its own line in its last chunk
  POST /faults       {{"faults": [{{"name": "cut", "value": 3, "share": 0.1, "seed": 1, "times": 5}}]}}; GET lists, DELETE ends them
  x-fault: cut=3     for this request only

proxies (--proxy), the order of prefill and decode in roles pd and proxy:
{chr(10).join(f"  {name:<14} {text}" for name, text in PROXIES.items())}

{faults.help_text()}
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="locust-kvcache emulator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="port to listen on (default: 8000)")
    add(
        "--role",
        choices=ROLES,
        default="single",
        help="single server; pd: prefill/decode-disaggregated; prefiller, decoder, proxy, store: one part of pd; fleet: a router with "
        "its engines (default: single)",
    )
    add(
        "--profile",
        default="qwen_72b",
        help=f"model and timing to simulate: {', '.join(available_profiles())}, or a YAML file (default: qwen_72b)",
    )
    add("--time-scale", type=float, default=1.0, help="real seconds per simulated second; 0.1 is ten times faster (default: 1)")
    add("--model", help="served model name (default: the profile's)")
    add(
        "--api-key-env",
        metavar="VAR",
        help="name of the environment variable with the API key that clients must send (default: no key)",
    )
    _add_disaggregated(parser)
    add("--mooncake-port", type=int, help="also serve the store's mooncake_master metrics page on this port (real default: 9003)")
    add("--gpu-watts", type=float, metavar="W",
        help="also serve /dcgm/metrics like dcgm-exporter: one GPU per server that always draws W watts (not for role fleet)")  # fmt: skip
    add("--scheduling-policy", choices=("fcfs", "priority"), default="fcfs",
        help="order of the queue: first come first served, or lowest `priority` first; fcfs refuses requests with a priority, as vLLM "
             "does (default: fcfs)")  # fmt: skip
    add("--ttl-s", type=float, default=0.0, metavar="S",
        help="the store drops a chunk S simulated seconds after its last use (default: the profile's; most profiles never "
             "drop)")  # fmt: skip
    _add_fleet(parser)
    add(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=VALUE][@SHARE]",
        help="fault to inject, in all requests or in a SHARE of them; repeat the option for more (list below)",
    )
    options = parser.parse_args()
    _check(parser, options)
    return options


def _add_disaggregated(parser: argparse.ArgumentParser) -> None:
    """Options of prefillers, decoders, the proxy before them and the store between them."""
    add = parser.add_argument
    add(
        "--proxy",
        choices=list(PROXIES),
        default="wait_store",
        help="roles pd and proxy: order of prefill and decode, see below (default: wait_store)",
    )
    add(
        "--bare-proxy",
        action="store_true",
        help="role proxy: behave like the example proxies of vLLM and LMCache: only /healthcheck, no headers passed on, SSE typed as JSON",
    )
    add("--prefillers", type=int, default=1, metavar="X", help="role pd: number of prefillers, used in turn (default: 1)")
    add("--decoders", type=int, default=1, metavar="Y", help="role pd: number of decoders, used in turn (default: 1)")
    add(
        "--prefiller",
        action="append",
        default=[],
        metavar="URL",
        help="role proxy: address of a prefiller; repeat the option for more, they are used in turn",
    )
    add(
        "--decoder",
        action="append",
        default=[],
        metavar="URL",
        help="role proxy: address of a decoder; repeat the option for more",
    )
    add(
        "--store",
        metavar="URL",
        help="roles single, prefiller, decoder: address of the shared store (default: each has its own store)",
    )


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    group, guard = parser.add_argument_group("role fleet"), Guard()
    add = group.add_argument
    add("--engines", type=int, default=4, metavar="N", help="number of engines (default: 4)")
    add(
        "--engine-ports",
        metavar="PORTS",
        help="ports of the engines, separated by commas: 9101,9102 (default: the ports after --port)",
    )
    add(
        "--routing",
        choices=list(POLICIES),
        default="round_robin",
        help="how the router chooses an engine, see below (default: round_robin)",
    )
    add(
        "--max-open",
        type=int,
        metavar="N",
        help="answer 503 with Retry-After when N requests are open (default: no limit)",
    )
    add("--cache-threshold", type=float, default=guard.cache_threshold, metavar="SHARE",
        help="--routing prefix: choose by prefix if it is longer than this share of the prompt (default: "
             f"{guard.cache_threshold:g})")  # fmt: skip
    add("--balance-abs-threshold", type=int, default=guard.balance_abs_threshold, metavar="N",
        help="--routing prefix: choose the least loaded engine if open requests differ by more than N (default: "
             f"{guard.balance_abs_threshold}) ...")  # fmt: skip
    add("--balance-rel-threshold", type=float, default=guard.balance_rel_threshold, metavar="X",
        help="... and the most loaded engine has more than X times as many as the least loaded (default: "
             f"{guard.balance_rel_threshold:g})")  # fmt: skip


def _engine_ports(options: argparse.Namespace) -> list[int]:
    """ValueError if they are not N ports."""
    if options.engines < 1:
        raise ValueError(f"--engines is {options.engines}; expected at least 1")
    if options.max_open is not None and options.max_open < 1:
        raise ValueError(f"--max-open is {options.max_open}; expected at least 1")
    if not options.engine_ports:
        return [options.port + number if options.port else 0 for number in range(1, options.engines + 1)]
    ports = [part.strip() for part in options.engine_ports.split(",")]
    if len(ports) != options.engines or not all(port.isdigit() and int(port) < 65536 for port in ports):
        raise ValueError(
            f"--engine-ports is {options.engine_ports!r}; expected {options.engines} port numbers (--engines), as 9101,9102"
        )
    return [int(port) for port in ports]


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Says what is wrong and ends; leaves the faults parsed as `rules`."""
    if not options.time_scale > 0:
        parser.error(f"--time-scale is {options.time_scale:g}; expected more than 0")
    if options.api_key_env and not os.environ.get(options.api_key_env):
        parser.error(f"--api-key-env: the environment variable {options.api_key_env} is not set")
    for name, count in (("--prefillers", options.prefillers), ("--decoders", options.decoders)):
        if count < 1 or (count > 1 and options.role != "pd"):
            parser.error(f"{name} is {count}; expected at least 1, and more than 1 only with --role pd")
    if options.role == "proxy" and not (options.prefiller and options.decoder):
        parser.error("--role proxy needs --prefiller URL and --decoder URL")
    if options.role == "proxy" and options.proxy == "prefill_token":
        parser.error("--proxy prefill_token is there in one process only: --role pd")
    if options.role == "fleet" and (options.store or options.mooncake_port is not None):
        parser.error("--store and --mooncake-port are not for role fleet: its engines share the store that the profile describes")
    try:
        options.ports = _engine_ports(options)
    except ValueError as error:
        parser.error(str(error))
    try:
        options.rules = [faults.parse_rule(text) for text in options.fault]
    except ValueError as error:
        parser.error(f"--fault: {error}")
