"""How fast and how punctual the emulator streams: chunks per second from one core, and sent minus due at 10,000 chunks/s.

The emulator's own truth says how late each token was; a client in a second process only reads. Ends with exit code 1 below the targets
(20,000 chunks/s; p99 below 2 ms), with --check.

    python -m benchmarks.emulator_speed [--seconds 5] [--streams 200] [--check]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.ending import end

ROOT = Path(__file__).resolve().parent.parent
WANTED_CHUNKS_PER_S = 20_000
WANTED_P99_MS = 2.0
SATURATING_CHUNKS_PER_S = 200_000


def profile_yaml(streams: int, chunks_per_s: float) -> str:
    """One token of every stream per step; within a step they leave evenly spread, as from one output process."""
    step_s = streams / chunks_per_s
    timing = {"frontend_s": 0.0, "step_floor_s": step_s, "prefill_s_per_token": 0.0, "attention_s_per_token2": 0.0}
    timing |= {"step_s_per_decoding": 0.0, "output_s_per_token": 0.95 / chunks_per_s}
    server = {"gpu_capacity_tokens": 4_000_000, "max_num_seqs": streams, "max_num_batched_tokens": 100_000, "timing": timing}
    sizes = {"served_name": "speed", "max_model_len": 100_000, "block_size": 16, "kv_bytes_per_token": 1}
    return json.dumps({**sizes, "servers": {"single": server}})


@contextlib.contextmanager
def emulator(profile: str, core: int | None) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speed.yaml"
        path.write_text(profile)
        command = [sys.executable, "-m", "locust_kvcache.emulator", "--port", str(port), "--profile", str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
                    break
                time.sleep(0.05)
            yield url
        finally:
            end(process)


class Reader(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)


def read_streams(port: int, streams: int, tokens: int, core: int | None) -> None:
    """The client process: opens the streams and throws away what comes."""
    if core is not None:
        os.sched_setaffinity(0, {core})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(streams):
            body = json.dumps({"model": "speed", "prompt": f"stream {number}", "max_tokens": tokens, "stream": True}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            await loop.create_connection(functools.partial(Reader, head + body), "127.0.0.1", port)
        await asyncio.sleep(3600)

    uvloop.run(main())


def server_truth(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/truth?last=0", timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.readline())
    return found


def measure(
    streams: int, chunks_per_s: float, seconds: float, cores: tuple[int | None, int | None]
) -> tuple[float, dict[str, float]]:
    """(chunks per second that left, lateness in microseconds) while all streams run."""
    with emulator(profile_yaml(streams, chunks_per_s), cores[0]) as url:
        port = int(url.rsplit(":", 1)[1])
        client = multiprocessing.Process(target=read_streams, args=(port, streams, 90_000, cores[1]), daemon=True)
        client.start()
        try:
            time.sleep(1.5)
            urllib.request.urlopen(urllib.request.Request(f"{url}/truth", method="DELETE"), timeout=30).close()
            before, started_s = server_truth(url), time.monotonic()
            time.sleep(seconds)
            after, ended_s = server_truth(url), time.monotonic()
        finally:
            client.terminate()
            client.join()
    return (after["chunks"] - before["chunks"]) / (ended_s - started_s), after["late_us"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of each part (default: 5)")
    parser.add_argument("--streams", type=int, default=200, help="concurrent streams (default: 200)")
    parser.add_argument("--check", action="store_true", help="exit code 1 below the targets")
    options = parser.parse_args()
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)
    rate, late = measure(options.streams, 10_000, options.seconds, cores)
    print(
        f"at 10,000 chunks/s: {rate:,.0f} sent; sent - due: p50 {late['p50']:.0f}, p99 {late['p99']:.0f}, max {late['max']:.0f} us"
    )
    fastest, _ = measure(options.streams, SATURATING_CHUNKS_PER_S, options.seconds, cores)
    print(f"as fast as one core can: {fastest:,.0f} chunks/s")
    good = fastest >= WANTED_CHUNKS_PER_S and late["p99"] < WANTED_P99_MS * 1e3
    return 0 if good or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
