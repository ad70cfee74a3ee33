"""python -m benchmarks.capacity_truth: the --capacity search against an emulator whose service rate is known, cold and hit; ratios out.

The emulator computes 10,000 tokens/s and loads 40,000 tokens/s from its store, one after the other, so capacity is one over what a prompt
takes. Arrivals are even: with bursty ones a server waits for work at times, and no formula says how much of that p90 forgives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.demo import ROOT, wait_until_up

PREFILL_S_PER_TOKEN, LOAD_TOKENS_PER_S, KV_BYTES = 1e-4, 40_000, 10_000
BLOCK = 16
SCENARIO = {
    "name": "even", "summary": "Prompts of one length, none alike.", "requests": 100, "prefix": {"text": "document", "tokens": 480},
    "turns": {"text": "question", "tokens": 32}, "output": {"tokens": 2}, "order": "grouped",
}  # fmt: skip
PROFILE: dict[str, Any] = {
    "served_name": "truth", "max_model_len": 32768, "block_size": BLOCK, "kv_bytes_per_token": KV_BYTES,
    "servers": {"single": {
        "gpu_capacity_tokens": 1_000_000, "max_num_seqs": 256, "max_num_batched_tokens": 2048, "prefix_caching": False,
        "store": {"chunk_tokens": BLOCK, "capacity_bytes": 1e12, "read_bytes_per_s": float(LOAD_TOKENS_PER_S * KV_BYTES),
                  "write_bytes_per_s": 1e12, "latency_s": 0.0, "load": "sync"},
        "timing": {"frontend_s": [[0, 0.002]], "step_floor_s": 0.0005, "prefill_s_per_token": PREFILL_S_PER_TOKEN,
                   "attention_s_per_token2": 0.0, "step_s_per_decoding": 0.0},
    }},
}  # fmt: skip


@contextlib.contextmanager
def emulator(folder: Path, port: int) -> Iterator[str]:
    profile = folder / "truth.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    process = subprocess.Popen(
        [sys.executable, "-m", "locust_kvcache.emulator", "--port", str(port), "--profile", str(profile)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def service_s(url: str) -> dict[str, float]:
    """What a prompt takes the server, by its own account of the tokens that it computed and loaded: mean of the last 50 of each kind."""
    with urllib.request.urlopen(f"{url}/truth", timeout=10) as answer:
        rows = [json.loads(line) for line in answer.read().splitlines()]
    found: dict[str, list[float]] = {"cold": [], "hit": []}
    for row in rows:
        for server in (row.get("servers") or {}).values():
            loaded, computed = sum(load["tokens"] for load in server["loads"]), server["computed_tokens"]
            if loaded + computed > 400:
                found["hit" if loaded else "cold"].append(computed * PREFILL_S_PER_TOKEN + loaded / LOAD_TOKENS_PER_S)
    return {side: sum(values[-50:]) / len(values[-50:]) for side, values in found.items() if values}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_truth", description=__doc__)
    parser.add_argument("--port", type=int, default=18500)
    parser.add_argument("--requests", type=int, default=100, help="of each step (default: 100)")
    parser.add_argument("--sides", nargs="+", default=["cold", "hit"])
    parser.add_argument("--output-dir", type=Path, default=ROOT / "results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, emulator(Path(name), args.port) as url:
        scenario = Path(name) / "even.yaml"
        scenario.write_text(yaml.safe_dump(SCENARIO))
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "locustfiles/cold_start.py",
            "--headless",
            "-u",
            "64",
            "-r",
            "64",
            "--host",
            url,
        ]
        command += [
            "--scenarios",
            str(scenario),
            "--requests",
            str(args.requests),
            "--arrival",
            "constant",
            "--slo",
            "ttft_ms=1000",
        ]
        command += ["--capacity", *args.sides, "--output-dir", str(args.output_dir), "--metrics-interval", "0", "--only-summary"]
        done = subprocess.run(command, cwd=ROOT, check=False)
        truth = service_s(url)
    for side, seconds in truth.items():
        print(f"{side}: a prompt takes {1000 * seconds:.2f} ms: analytic capacity {1 / seconds:.2f} sessions/s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
