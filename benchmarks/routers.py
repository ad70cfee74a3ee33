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
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ENGINES = 4
START_TIMEOUT_S = 60.0
LAUNCH = {"vllm-router": [], "sglang-router": ["launch"]}
POLICIES = ("round_robin", "cache_aware")
SESSION = "+session"
HEADINGS = (
    "router", "policy", "round", "hit rate", "reusable", "held", "captured", "TTFT mean, ms", "P90", "engines' TTFT", "requests/s",
    "max/mean tokens", "requests of each engine",
)  # fmt: skip
FIGURES = ("reusable", "held", "captured", "delivered")


@dataclass(frozen=True)
class Load:
    documents: int
    questions: int
    tokens: int
    users: int
    profile: str
    time_scale: float

    @property
    def requests(self) -> int:
        return self.documents * self.questions

    def scenario(self) -> dict[str, Any]:
        prefix = {"text": "document", "tokens": self.tokens, "shared_by": self.questions}
        turns, output = {"text": "question", "tokens": 40}, {"tokens": 16, "ignore_eos": True, "temperature": 0}
        head = {"name": "documents", "summary": "Questions on shared documents.", "requests": self.requests, "rounds": 2}
        return {**head, "prefix": prefix, "turns": turns, "output": output, "order": "interleaved"}


@dataclass(frozen=True)
class Round:
    """One round of one run. Hit rate and the waterfall are the emulator's truth, shares of the prompt tokens; times are the client's."""

    router: str
    policy: str
    repeat: int
    round: str
    requests_by_engine: list[int]
    max_over_mean_tokens: float
    ttft_mean_ms: float
    ttft_p50_ms: float
    ttft_p90_ms: float
    engine_ttft_mean_ms: float  # the emulator's model: from arrival at the engine until the first token was due
    requests_per_s: float
    reusable: float
    held: float
    captured: float
    delivered: float


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@contextlib.contextmanager
def process(command: Sequence[str], log: Path, ready_url: str) -> Iterator[None]:
    """Runs until the block ends; SystemExit with the log's end if it does not come up."""
    with log.open("wb") as file:
        running = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError, ValueError):
                answer = json.loads(get(ready_url))
                if len(answer["workers"]) == ENGINES and all(one["is_healthy"] for one in answer["workers"]):
                    break
            if running.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{Path(command[0]).name} did not come up; the end of {log}:\n{log.read_text()[-1500:]}")
            time.sleep(0.2)
        yield
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


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
    top["router"] = {"metrics": f"http://127.0.0.1:{metrics_port}/metrics"}
    return {**top, **({"headers": {"x-session-id": "{session}"}} if session else {})}


def play(folder: Path, files: tuple[Path, Path], users: int) -> None:
    """Two rounds by the product; SystemExit with what it said if it fails."""
    scenario, target = files
    command = [sys.executable, "-m", "locust_kvcache", "run", str(scenario), "--headless", "-u", str(users), "-r", str(users)]
    command += ["--deployment", str(target), "--warm-up", "off", "--only-summary", "--output-dir", str(folder.parent)]
    done = subprocess.run(
        [*command, "--run-name", folder.name, "--no-report"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{folder.name}: exit code {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def read_rounds(folder: Path, truths: list[dict[str, Any]], key: tuple[str, str, int], requests: int) -> list[Round]:
    """`truths`: the emulator's request lines in order of arrival. The rounds are the last ones; what came before is the preflight."""
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    found = []
    for number, name in ((1, "cold"), (2, "hit")):
        mine = [one for one in records if one["round"] == number and one["status"] == "ok"]
        last = len(truths) - requests * (2 - number)
        found.append(read_round(mine, truths[last - requests : last], key, name))
    return found


def read_round(records: list[dict[str, Any]], truths: list[dict[str, Any]], key: tuple[str, str, int], name: str) -> Round:
    engines = [f"engine-{number}" for number in range(1, ENGINES + 1)]
    tokens = [sum(one["prompt_tokens"] for one in truths if one["engine"] == engine) for engine in engines]
    ttft_ms = sorted(one["ttft_ms"] for one in records)
    wall_s = max(one["started_at_s"] + one["e2e_ms"] / 1e3 for one in records) - min(one["started_at_s"] for one in records)
    return Round(
        *key,
        name,
        [sum(one["engine"] == engine for one in truths) for engine in engines],
        max(tokens) / (sum(tokens) / ENGINES),
        statistics.fmean(ttft_ms),
        statistics.median(ttft_ms),
        ttft_ms[int(0.9 * (len(ttft_ms) - 1))],
        statistics.fmean((one["first_token_due_ns"] - one["arrived_ns"]) / 1e6 for one in truths),
        len(records) / wall_s,
        *(sum(one["reuse"][figure] for one in truths) / sum(tokens) for figure in FIGURES),
    )


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
        play(options.output / name, (scenario, target), load.users)
        truths = [json.loads(line) for line in get(f"{front_url}/truth").splitlines()[1:]]
    return read_rounds(options.output / name, truths, (router, policy, repeat), load.requests)


def table(rounds: Sequence[Round]) -> str:
    """Markdown: one row per router, policy and round; the mean of the repeats, and their range where it matters."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for router, policy, name in dict.fromkeys((one.router, one.policy, one.round) for one in rounds):
        mine = [one for one in rounds if (one.router, one.policy, one.round) == (router, policy, name)]
        mean = {key: statistics.fmean(getattr(one, key) for one in mine) for key in asdict(mine[0]) if key not in _NAMES}
        low, high = min(one.ttft_mean_ms for one in mine), max(one.ttft_mean_ms for one in mine)
        shares = " | ".join(f"{mean[key]:.1%}" for key in ("delivered", "reusable", "held", "captured"))
        times = f"{mean['ttft_mean_ms']:.0f} ({low:.0f} to {high:.0f}) | {mean['ttft_p90_ms']:.0f} | {mean['engine_ttft_mean_ms']:.0f}"
        counts = "; ".join(" ".join(map(str, one.requests_by_engine)) for one in mine)
        rest = [f"{mean['requests_per_s']:.1f}", f"{mean['max_over_mean_tokens']:.2f}", counts]
        lines.append(f"| {' | '.join([router, policy, name, shares, times, *rest])} |")
    return "\n".join(lines)


_NAMES = {"router", "policy", "repeat", "round", "requests_by_engine"}


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
    add("--profile", default="h200_qwen_72b_fp8", help="of the engines (default: h200_qwen_72b_fp8)")
    add("--time-scale", type=float, default=1.0, help="of the engines (default: 1)")
    add("--output", type=Path, default=ROOT / "results" / "routers", help="folder (default: results/routers)")
    options = parser.parse_args()
    if missing := [name for name in options.routers if not (options.venv / "bin" / name).exists()]:
        parser.error(f"--venv {options.venv} has no {', '.join(missing)}; see docs/routers.md")
    return options


def main() -> int:
    options = parse_arguments()
    load = Load(options.documents, options.questions, options.tokens, options.users, options.profile, options.time_scale)
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
