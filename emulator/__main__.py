"""python -m emulator: an OpenAI-compatible server whose KV cache really decides the time to the first token."""

from __future__ import annotations

import argparse
import os
import socket
import sys

import uvicorn

from emulator.api import make_app
from emulator.engine import Engine
from emulator.profile import ROLES, available_profiles, load_profile

EPILOG = """examples:
  python -m emulator --port 8000 --time-scale 0.02       a single 72B server, 50 times faster than the reference
  python -m emulator --port 9000 --role pd               prefill and decode apart, behind one address
  python -m emulator --profile deepseek_671b --role pd
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
    options = parser.parse_args()
    if not options.time_scale > 0:
        parser.error(f"--time-scale is {options.time_scale:g}; expected more than 0")
    if options.api_key_env and not os.environ.get(options.api_key_env):
        parser.error(f"--api-key-env: the environment variable {options.api_key_env} is not set")
    return options


def main() -> int:
    options = parse_arguments()
    try:
        profile = load_profile(options.profile, options.role)
        listener = socket.create_server((options.host, options.port), backlog=2048)
    except (ValueError, OSError) as error:
        where = f" ({options.host}:{options.port})" if isinstance(error, OSError) else ""
        print(f"error: {error}{where}", file=sys.stderr)
        return 2
    model = options.model or profile.served_name
    key = os.environ.get(options.api_key_env) if options.api_key_env else None
    app = make_app(Engine(profile, options.time_scale), model, options.role, key)
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(
        f"emulator: {model}, {options.role}, time scale {options.time_scale:g}, at http://{host}:{listener.getsockname()[1]}",
        flush=True,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
