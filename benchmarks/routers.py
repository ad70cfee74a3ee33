"""Real routers before four emulated engines: what each policy does to hit rate, TTFT and balance, with the truth of the emulator.

The routers are not installed by this project. Give them an environment of their own and name it (docs/routers.md):

    python -m venv routers && routers/bin/pip install vllm-router==0.1.17 sglang-router==0.3.2
    python -m benchmarks.routers --venv routers [--repeats 3] [--routers vllm-router] [--policies round_robin cache_aware]

A policy may end in +session: then the client sends x-session-id. Repeats are interleaved. Every run has fresh engines and a fresh router.
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ending import end
from benchmarks.router_rounds import ENGINES, Round, read_rounds, table

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 60.0
LAUNCH = {"vllm-router": [], "sglang-router": ["launch"]}
POLICIES = ("round_robin", "cache_aware")
SESSION = "+session"


@dataclass(frozen=True)
class Load:
    documents: int
    questions: int
    tokens: int
    users: int
    profile: str
    time_scale: float
    request_rate: float | None = None  # per second, open loop; None: closed loop

    @property
    def requests(self) -> int:
        return self.documents * self.questions

    def scenario(self) -> dict[str, Any]:
        prefix = {"text": "document", "tokens": self.tokens, "shared_by": self.questions}
        turns, output = {"text": "question", "tokens": 40}, {"tokens": 16, "ignore_eos": True, "temperature": 0}
        head = {"name": "documents", "summary": "Questions on shared documents.", "requests": self.requests, "rounds": 2}
        return {**head, "prefix": prefix, "turns": turns, "output": output, "order": "interleaved"}


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, ready_url: str, workers: int = ENGINES) -> Iterator[None]:
    """Runs until the block ends; up once the page names so many healthy workers, SystemExit with the log's end if it does not come up."""
    with log.open("wb") as file:
        running = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError, ValueError):
                answer = json.loads(get(ready_url))
                if len(answer["workers"]) == workers and all(one["is_healthy"] for one in answer["workers"]):
                    break
            if running.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{Path(command[0]).name} did not come up; the end of {log}:\n{log.read_text()[-1500:]}")
            time.sleep(0.2)
        yield
    finally:
        end(running)


def fleet_command(front: int, ports: Sequence[int], load: Load) -> list[str]:
    command = [sys.executable, "-m", "locust_kvcache.emulator", "--role", "fleet", "--engines", str(len(ports))]
    command += ["--port", str(front), "--engine-ports", ",".join(map(str, ports))]
    return [*command, "--profile", load.profile, "--time-scale", str(load.time_scale)]


def router_command(venv: Path, router: str, policy: str, port: int, metrics_port: int, engines: Sequence[int]) -> list[str]:
    command = [str(venv.resolve() / "bin" / router), *LAUNCH[router], "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(metrics_port), "--policy", policy, "--worker-startup-check-interval", "1"]
    return [*command, "--worker-urls", *(f"http://127.0.0.1:{engine}" for engine in engines)]


def deployment(name: str, port: int, metrics_port: int, engines: Sequence[int], model: str, session: bool) -> dict[str, Any]:
    pages = [{"name": f"engine-{n}", "metrics": f"http://127.0.0.1:{one}/metrics"} for n, one in enumerate(engines, start=1)]
    top: dict[str, Any] = {
        "name": name,
        "kind": "non_disagg",
        "endpoint": f"http://127.0.0.1:{port}",
        "model": model,
        "engines": pages,
    }
    top["router"] = {"metrics": f"http://127.0.0.1:{metrics_port}/metrics", "discover": True}
    return {**top, **({"headers": {"x-session-id": "{session}"}} if session else {})}


def play(folder: Path, files: tuple[Path, Path], load: Load) -> None:
    """Two rounds by the product; SystemExit with what it said if it fails."""
    scenario, target = files
    users = str(load.users if load.request_rate is None else load.requests)
    command = [sys.executable, "-m", "locust_kvcache", "run", str(scenario), "--headless", "-u", users, "-r", users]
    command += ["--deployment", str(target), "--warm-up", "off", "--only-summary", "--output-dir", str(folder.parent)]
    if load.request_rate is not None:
        command += ["--arrival", "poisson", "--request-rate", str(load.request_rate)]
    done = subprocess.run(
        [*command, "--run-name", folder.name, "--no-report"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{folder.name}: exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def measure(options: argparse.Namespace, load: Load, router: str, policy: str, repeat: int) -> list[Round]:
    name = f"{router}_{policy.replace(SESSION, '_session')}_{repeat}"
    front, port, metrics_port, *engines = free_ports(3 + ENGINES)
    logs, session = options.output / "logs", policy.endswith(SESSION)
    scenario, target = options.output / "documents.yaml", options.output / f"{name}.yaml"
    with contextlib.ExitStack() as stack:
        front_url = f"http://127.0.0.1:{front}"
        stack.enter_context(process(fleet_command(front, engines, load), logs / f"{name}_fleet.log", f"{front_url}/workers"))
        command = router_command(options.venv, router, policy.removesuffix(SESSION), port, metrics_port, engines)
        stack.enter_context(process(command, logs / f"{name}_router.log", f"http://127.0.0.1:{port}/workers"))
        model = json.loads(get(f"{front_url}/v1/models"))["data"][0]["id"]
        scenario.write_text(yaml.safe_dump(load.scenario()))
        target.write_text(yaml.safe_dump(deployment(name, port, metrics_port, engines, model, session)))
        play(options.output / name, (scenario, target), load)
        truths = [json.loads(line) for line in get(f"{front_url}/truth").splitlines()[1:]]
    return read_rounds(options.output / name, truths, (router, policy, repeat), load.requests)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--venv", type=Path, required=True, help="environment in which the routers are installed")
    add("--routers", nargs="+", choices=list(LAUNCH), default=list(LAUNCH), help="default: both")
    add("--policies", nargs="+", default=list(POLICIES), help=f"as each router names them (default: {' '.join(POLICIES)})")
    add("--repeats", type=int, default=3, help="runs of each (default: 3)")
    add(
        "--documents",
        type=int,
        default=23,
        help="no multiple of the engines: round robin would follow the documents (default: 23)",
    )
    add("--questions", type=int, default=4, help="on each document (default: 4)")
    add("--tokens", type=int, default=2000, help="of a document (default: 2000)")
    add("--users", type=int, default=16, help="closed loop (default: 16)")
    add("--request-rate", type=float, metavar="R", help="Poisson arrivals per second instead (default: closed loop)")
    add("--profile", default="h200_qwen_72b_fp8", help="of the engines (default: h200_qwen_72b_fp8)")
    add("--time-scale", type=float, default=1.0, help="of the engines (default: 1)")
    add("--output", type=Path, default=ROOT / "results" / "routers", help="folder (default: results/routers)")
    options = parser.parse_args()
    if missing := [name for name in options.routers if not (options.venv / "bin" / name).exists()]:
        parser.error(f"--venv {options.venv} has no {', '.join(missing)}; see docs/routers.md")
    return options


def main() -> int:
    options = parse_arguments()
    load = Load(**{field.name: getattr(options, field.name) for field in fields(Load)})
    (options.output / "logs").mkdir(parents=True, exist_ok=True)
    rounds: list[Round] = []
    for repeat in range(1, options.repeats + 1):
        for router in options.routers:
            for policy in options.policies:
                rounds += measure(options, load, router, policy, repeat)
                print(f"{router} {policy} {repeat}: {rounds[-2].delivered:.1%} and {rounds[-1].delivered:.1%} cached", flush=True)
    (options.output / "rounds.json").write_text(json.dumps([asdict(one) for one in rounds], indent=1))
    print(table(rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
