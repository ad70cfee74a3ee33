"""The main job without a cluster: both deployments on the embedded emulator, cold and hit, ending in a comparison. `make demo`."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
START_TIMEOUT_S = 30.0
SCENARIOS = ("cold_start", "long_context_high_reuse")
ROLES = {"single": 18000, "pd": 19000}  # the ports of configs/emulator_single.yaml and configs/emulator_pd.yaml


@contextlib.contextmanager
def emulator(role: str, profile: str, time_scale: float) -> Iterator[None]:
    """A running emulator; SystemExit with its own words if it does not come up."""
    port = ROLES[role]
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
    """One headless Locust run; its folder, or SystemExit with Locust's exit code."""
    command = [PYTHON, "-m", "locust", "-f", "locustfiles", "--headless", "-u", str(users), "-r", str(users)]
    command += ["--deployment", f"configs/emulator_{role}.yaml", "--rounds", "2", "--output-dir", str(folder), "--run-name", role]
    command += ["--warm-up", "off", "--scenarios", *scenarios]  # the emulator compiles no kernels: there is nothing to warm up
    done = subprocess.run([*command, "--only-summary"], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return folder / role


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--profile", default="qwen_72b", help="emulator profile (default: qwen_72b)")
    parser.add_argument("--time-scale", type=float, default=0.5, help="simulated seconds take this many real ones (default: 0.5)")
    parser.add_argument("--users", type=int, default=8, help="concurrent users (default: 8)")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), help=f"scenarios (default: {' '.join(SCENARIOS)})")
    options = parser.parse_args()
    folder = ROOT / "results" / f"demo_{datetime.now():%Y%m%d-%H%M%S}"
    runs = {}
    for role in ROLES:
        with emulator(role, options.profile, options.time_scale):
            runs[role] = run_load(role, folder, options.users, options.scenarios)
    output = folder / "comparison.html"
    compare = [PYTHON, "-m", "analysis.compare_results", "--pd-stats", str(runs["pd"] / "stats.json")]
    compare += ["--non-pd-stats", str(runs["single"] / "stats.json"), "--output", str(output)]
    code = subprocess.run(compare, cwd=ROOT, check=False).returncode
    print(f"\nThis was the emulator at time scale {options.time_scale:g}: multiply its times by {1 / options.time_scale:g}.")
    print(f"Report: {output.relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
