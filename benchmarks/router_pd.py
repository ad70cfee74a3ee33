"""Real routers with prefill and decode apart, before an emulated prefiller, two decoders and a store: is the KV handed over?

    python -m benchmarks.router_pd --venv routers [--routers vllm-router sglang-router]

The emulator's truth says which tokens the decoders loaded and which they computed again (docs/routers.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ending import end
from benchmarks.routers import LAUNCH, ROOT, START_TIMEOUT_S, Load, free_ports, get, play, process

LOAD = Load(documents=5, questions=4, tokens=2000, users=4, profile="qwen_72b", time_scale=0.02)
MODE = {"vllm-router": "--vllm-pd-disaggregation", "sglang-router": "--pd-disaggregation"}
ROLES = ("prefiller", "decoder", "decoder")


@dataclass(frozen=True)
class HandOff:
    """What became of the prompt tokens of one round: shares of them."""

    router: str
    round: int
    prefilled: float  # computed by the prefiller
    loaded: float  # by the decoders, from the store or their own caches
    computed_again: float  # by the decoders
    requests_by_decoder: tuple[int, ...]


def pd_command(venv: Path, router: str, ports: Sequence[int], prefiller: int, decoders: Sequence[int]) -> list[str]:
    command = [str(venv.resolve() / "bin" / router), *LAUNCH[router], "--host", "127.0.0.1", "--port", str(ports[0])]
    command += [
        "--prometheus-port",
        str(ports[1]),
        "--policy",
        "round_robin",
        "--worker-startup-check-interval",
        "1",
        MODE[router],
    ]
    command += ["--prefill", f"http://127.0.0.1:{prefiller}"]
    return [*command, *(word for port in decoders for word in ("--decode", f"http://127.0.0.1:{port}"))]


@contextlib.contextmanager
def engine(role: str, port: int, store: int | None, load: Load, log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "locust_kvcache.emulator", "--role", role, "--port", str(port), "--profile", load.profile]
    command += ["--time-scale", str(load.time_scale), *(("--store", f"http://127.0.0.1:{store}") if store else ())]
    with log.open("wb") as file:
        running = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):
                get(f"http://127.0.0.1:{port}/health")
                break
            time.sleep(0.2)
        yield
    finally:
        end(running)


def truths(port: int) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, get(f"http://127.0.0.1:{port}/truth").splitlines()) if line.get("kind") == "request"]


def hand_off(
    router: str, number: int, prefilled: Sequence[dict[str, Any]], decoded: Sequence[Sequence[dict[str, Any]]]
) -> HandOff:
    """From the truth of one round's requests at the prefiller, and at each decoder."""
    lines = [line for decoder in decoded for line in decoder]
    prompt = sum(line["prompt_tokens"] for line in lines) or 1

    def computed(some: Sequence[dict[str, Any]]) -> int:
        return sum(server["computed_tokens"] for line in some for server in line["servers"].values())

    again = computed(lines)
    counts = tuple(len(decoder) for decoder in decoded)
    return HandOff(router, number, computed(prefilled) / prompt, (prompt - again) / prompt, again / prompt, counts)


def measure(venv: Path, output: Path, router: str, load: Load = LOAD) -> list[HandOff]:
    """Two rounds; what the preflight sent stands before them in the truth, so each engine's is cleared by its last requests."""
    port, metrics_port, store, *engines = free_ports(3 + len(ROLES))
    (output / "logs").mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for role, own, where in (("store", store, None), *zip(ROLES, engines, [store] * len(ROLES), strict=True)):
            stack.enter_context(engine(role, own, where, load, output / "logs" / f"{router}_{role}_{own}.log"))
        command = pd_command(venv, router, (port, metrics_port), engines[0], engines[1:])
        log, ready = output / "logs" / f"{router}_pd.log", f"http://127.0.0.1:{port}/workers"
        stack.enter_context(process(command, log, ready, workers=len(ROLES)))
        model = json.loads(get(f"http://127.0.0.1:{engines[1]}/v1/models"))["data"][0]["id"]
        scenario, target = output / "documents.yaml", output / f"{router}_pd.yaml"
        scenario.write_text(yaml.safe_dump(load.scenario()))
        router_keys = {"metrics": f"http://127.0.0.1:{metrics_port}/metrics", "discover": True}
        top = {"kind": "pd_disagg", "endpoint": f"http://127.0.0.1:{port}", "model": model, "router": router_keys}
        target.write_text(yaml.safe_dump({"name": f"{router}_pd", **top}))
        play(output / f"{router}_pd", (scenario, target), load)
        return by_round(router, [truths(one) for one in engines], load.requests)


def by_round(router: str, told: Sequence[Sequence[dict[str, Any]]], requests: int) -> list[HandOff]:
    """The last requests are those of the two rounds; each engine's are split at the time between them."""
    decoded = sorted((line for decoder in told[1:] for line in decoder), key=lambda line: line["arrived_ns"])[-2 * requests :]
    begin_ns, middle_ns = decoded[0]["arrived_ns"], decoded[requests]["arrived_ns"]
    prefilled = sorted(told[0], key=lambda line: line["arrived_ns"])[-2 * requests :]
    rounds = []
    for number, first in ((1, True), (2, False)):
        mine = prefilled[:requests] if first else prefilled[requests:]
        each = [
            [line for line in decoder if line["arrived_ns"] >= begin_ns and (line["arrived_ns"] < middle_ns) == first]
            for decoder in told[1:]
        ]
        rounds.append(hand_off(router, number, mine, each))
    return rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router_pd", description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="environment in which the routers are installed")
    parser.add_argument("--routers", nargs="+", choices=list(MODE), default=list(MODE), help="default: both")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "results" / "routers_pd", help="folder (default: results/routers_pd)"
    )
    options = parser.parse_args()
    print("| router | round | computed by the prefiller | loaded by the decoders | computed again | requests of each decoder |")
    print("|---|---|---|---|---|---|")
    for router in options.routers:
        for one in measure(options.venv, options.output, router):
            shares = " | ".join(f"{share:.1%}" for share in (one.prefilled, one.loaded, one.computed_again))
            print(f"| {one.router} | {one.round} | {shares} | {' '.join(map(str, one.requests_by_decoder))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
