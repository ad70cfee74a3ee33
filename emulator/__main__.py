"""python -m emulator: an OpenAI-compatible server whose KV cache really decides the time to the first token, and whose truth is known."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys

from emulator import faults
from emulator.api import Api
from emulator.deployment import PROXIES, Deployment
from emulator.listener import Listener, run, until_stopped
from emulator.mooncake import MasterPages
from emulator.realtime import RealTime
from emulator.simulation import Simulation
from emulator.spec import ROLES, Profile, available_profiles, load_profile

EPILOG = f"""examples:
  python -m emulator --port 8000 --time-scale 0.02       a single 72B server, 50 times faster than the reference
  python -m emulator --port 9000 --role pd               prefill and decode apart, behind one address
  python -m emulator --profile deepseek_671b --role pd
  python -m emulator --fault no_done@0.1 --fault stall=3@0.05      one stream in ten without [DONE], one in twenty stalls

what happened:
  GET /truth         one JSON line per request: arrival, queue, prefill, loads and cached tokens per tier, each token due and sent,
                     in ns of the monotonic clock; the first line says how late the emulator itself was
  x-truth: 1         a request with this header gets its own line in its last chunk
  POST /faults       {{"faults": [{{"name": "cut", "value": 3, "share": 0.1, "seed": 1, "times": 5}}]}}; GET lists, DELETE ends them
  x-fault: cut=3     for this request only

proxies (--proxy), what lies between the client and the two servers of role pd:
{chr(10).join(f"  {name:<14} {text}" for name, text in PROXIES.items())}

{faults.help_text()}
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m emulator", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="port to listen on (default: 8000)")
    add("--role", choices=ROLES, default="single", help="single server, or prefill/decode-disaggregated (default: single)")
    add("--profile", default="qwen_72b", help=f"timing: {', '.join(available_profiles())}, or a YAML file (default: qwen_72b)")
    add("--time-scale", type=float, default=1.0, help="a simulated second takes this many real ones (default: 1)")
    add("--model", help="served model name (default: the profile's)")
    add("--api-key-env", metavar="VAR", help="environment variable with the key that clients must send (default: no key)")
    add("--proxy", choices=list(PROXIES), default="wait_store", help="role pd: the proxy's order (default: wait_store)")
    add("--mooncake-port", type=int, help="also serve the store's mooncake_master metrics page on this port (real default: 9003)")
    add("--fault", action="append", default=[], metavar="NAME[=VALUE][@SHARE]", help="a fault or lie, repeatable; listed below")
    options = parser.parse_args()
    if not options.time_scale > 0:
        parser.error(f"--time-scale is {options.time_scale:g}; expected more than 0")
    if options.api_key_env and not os.environ.get(options.api_key_env):
        parser.error(f"--api-key-env: the environment variable {options.api_key_env} is not set")
    try:
        options.rules = [faults.parse_rule(text) for text in options.fault]
    except ValueError as error:
        parser.error(f"--fault: {error}")
    return options


async def serve(options: argparse.Namespace, profile: Profile, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    simulation = Simulation()
    deployment = Deployment(profile, options.role, simulation, options.time_scale, options.proxy)
    clock = RealTime(simulation, loop)
    key = os.environ.get(options.api_key_env) if options.api_key_env else None

    def refuse(seconds: float) -> None:
        task = loop.create_task(listener.refuse(seconds))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    api = Api(deployment, clock, options.model or profile.served_name, key, faults.Faults(options.rules, deployment.lies), refuse)
    listener = Listener(listening, api.handle)
    await listener.open()
    for rule in options.rules:
        if rule.name == "refuse_connections":
            refuse(rule.value or 0.0)
    host = f"[{options.host}]" if ":" in options.host else options.host
    where = f"http://{host}:{listening.getsockname()[1]}"
    print(f"emulator: {api.model}, {options.role}, time scale {options.time_scale:g}, at {where}", flush=True)
    if options.mooncake_port is not None and deployment.store is not None:
        await Listener(socket.create_server((options.host, options.mooncake_port)), MasterPages(deployment.store).handle).open()
    await until_stopped()
    lateness = api.log.lateness()
    late = lateness["late_us"]
    words = f"p50 {late['p50']:.0f}, p99 {late['p99']:.0f}, max {late['max']:.0f} us"
    print(f"emulator: {lateness['chunks']} tokens sent; later than due: {words}", flush=True)


def main() -> int:
    options = parse_arguments()
    try:
        profile = load_profile(options.profile)
        for name in ("prefiller", "decoder") if options.role == "pd" else (options.role,):
            profile.server(name)
        listening = socket.create_server((options.host, options.port), backlog=4096, reuse_port=False)
    except (ValueError, OSError) as error:
        where = f" ({options.host}:{options.port})" if isinstance(error, OSError) else ""
        print(f"error: {error}{where}", file=sys.stderr)
        return 2
    run(lambda: serve(options, profile, listening))
    return 0


if __name__ == "__main__":
    sys.exit(main())
