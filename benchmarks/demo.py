"""Compares a PD pair and a single server, cold and hit, on the embedded emulator. `make demo`.

The load is that of the guide's example: 30 requests per round, each with a prompt of its own, so that round 1 is cold. With 6 users and
answers of 8 tokens the figures are the example's: TTFT 21 s cold and 7 s on a hit, throughput three times as high on a hit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
START_TIMEOUT_S = 30.0
SCENARIO = "cold_start"
REQUESTS, USERS, OUTPUT_TOKENS = 30, 6, 8
ROLES = {"single": 18000, "pd": 19000}  # the ports of configs/emulator_single.yaml and configs/emulator_pd.yaml


@contextlib.contextmanager
def emulator(role: str, profile: str, time_scale: float) -> Iterator[None]:
    """A running emulator; SystemExit with its own words if it does not come up."""
    port = ROLES[role]
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        raise SystemExit(f"port {port} is in use: end what listens there, then start the demo again")
    command = [
        PYTHON,
        "-m",
        "locust_kvcache.emulator",
        "--port",
        str(port),
        "--role",
        role,
        "--profile",
        profile,
        "--time-scale",
        str(time_scale),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}/health")
        yield
    finally:
        process.terminate()
        process.wait(10)


def wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit(f"the emulator ended with exit code {process.returncode}; is its port in use?")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within {START_TIMEOUT_S:.0f} s")


def run_load(role: str, folder: Path, users: int, scenarios: list[str]) -> Path:
    """One headless Locust run; its folder, or SystemExit with Locust's exit code. Its progress is shown, its own summary is not."""
    command = [PYTHON, "-m", "locust", "-f", "locustfiles", "--headless", "-u", str(users), "-r", str(users)]
    command += ["--deployment", f"configs/emulator_{role}.yaml", "--rounds", "2", "--output-dir", str(folder), "--run-name", role]
    command += ["--warm-up", "off", "--scenarios", *scenarios]  # the emulator compiles no kernels: there is nothing to warm up
    command += ["--requests", str(REQUESTS), "--output-tokens", str(OUTPUT_TOKENS)]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stdout)
        raise SystemExit(done.returncode)
    return folder / role


def effect(run: Path, metric: str) -> dict[str, Any]:
    """Cold against hit of the first scenario, as stats.json has it."""
    stats = json.loads((run / "stats.json").read_text(encoding="utf-8"))
    found = (row for row in stats["effects"] if row["split"] == "round" and row["metric"] == metric)
    return next(row for row in found if row["statistic"] in ("mean", "rate"))


def explained(runs: dict[str, Path], time_scale: float) -> str:
    """What the figures show, a line each, in the emulator's own seconds."""
    ttft = {role: effect(run, "ttft_ms") for role, run in runs.items()}
    cold_s = {role: row["baseline"] / 1000 / time_scale for role, row in ttft.items()}
    hit_s = {role: row["contender"] / 1000 / time_scale for role, row in ttft.items()}
    ttft_change = 100 * (ttft["pd"]["ratio"] - 1)
    rate_change = 100 * (effect(runs["pd"], "requests_per_s")["ratio"] - 1)
    lines = [
        f"Simulated times (measured / time scale {time_scale:g}):",
        f"  PD, cache pays: a hit takes the mean TTFT from {cold_s['pd']:#.3g} s to {hit_s['pd']:#.3g} s ({ttft_change:+.1f} %),",
        f"    and throughput changes by {rate_change:+.0f} %. The quoted table that it imitates: 21.2 s, 7.12 s, -66 %, +195 %.",
        f"  Single server: {cold_s['single']:#.3g} s cold, {hit_s['single']:#.3g} s on a hit, from its own GPU prefix cache.",
        f"  PD cold is {cold_s['pd'] / cold_s['single']:.2g} x single cold: prefill also writes the KV cache to the store.",
        "  PD hit is slower than single hit: KV comes from the store over TCP, at about 1 GB/s.",
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="qwen_72b", help="emulator profile (default: qwen_72b)")
    parser.add_argument("--time-scale", type=float, default=0.5, help="simulated seconds take this many real ones (default: 0.5)")
    parser.add_argument("--users", type=int, default=USERS, help=f"concurrent users (default: {USERS})")
    parser.add_argument("--scenarios", nargs="+", default=[SCENARIO], help=f"scenarios (default: {SCENARIO})")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    folder = ROOT / "results" / f"demo_{datetime.now():%Y%m%d-%H%M%S}"
    load = f"{REQUESTS} requests per round, {options.users} users, answers of {OUTPUT_TOKENS} tokens"
    print(f"Load: {' '.join(options.scenarios)}, {load}; round 1 cold, round 2 the same requests.", flush=True)
    print(f"Server: emulator, profile {options.profile}, time scale {options.time_scale:g}.", flush=True)
    runs = {}
    for number, role in enumerate(ROLES, 1):
        print(f"\n[{number}/{len(ROLES)}] {'PD pair' if role == 'pd' else 'single server'}", flush=True)
        with emulator(role, options.profile, options.time_scale):
            runs[role] = run_load(role, folder, options.users, options.scenarios)
    output = folder / "comparison.html"
    print(flush=True)
    compare = [PYTHON, "-m", "analysis.compare_results", "--pd-stats", str(runs["pd"] / "stats.json")]
    compare += ["--non-pd-stats", str(runs["single"] / "stats.json"), "--output", str(output)]
    code = subprocess.run(compare, cwd=ROOT, check=False).returncode
    print(f"\n{explained(runs, options.time_scale)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
