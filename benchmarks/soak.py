"""python -m benchmarks.soak [--minutes 10] [--users 32] [--rate 40] [--processes 2]: memory of master and workers over a timed round.

A server that answers at once (benchmarks/null_server.py) gets short prompts, as fast as the users send them or at --rate. Each minute a
line says how many requests have their record and what each process holds (RSS). At the end: growth per million requests, between
half-time and the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.ending import end
from tests.conftest import wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent


def rss_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def lines_in(file: Path) -> int:
    if not file.exists():
        return 0
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))


def sample(process: subprocess.Popen[bytes], folder: Path) -> tuple[int, float, list[float]]:
    """(records, MB of the master, MB of each worker); the master is the process that the others are children of."""
    master = psutil.Process(process.pid)
    workers = [rss_mb(child) for child in master.children(recursive=True) if "analysis" not in " ".join(child.cmdline())]
    return lines_in(folder / "results" / "soak" / "records.jsonl"), rss_mb(master), workers


def play(arguments: argparse.Namespace, folder: Path, url: str) -> None:
    command = [
        sys.executable, "-m", "locust_kvcache", "run", "cold_start", "--headless", "-u", str(arguments.users), "-r", "100",
        "--host", url, "--round-time", f"{arguments.minutes}m", "--rounds", "1", "--warm-up", "off", "--prompt-tokens", "60",
        "--output-tokens", "2", "--processes", str(arguments.processes), "--run-name", "soak", "--no-report",
        "--output-dir", str(folder / "results"), "--master-bind-port", str(free_port()),
    ]  # fmt: skip
    if arguments.rate:
        command += ["--arrival", "poisson", "--request-rate", str(arguments.rate)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    samples, next_s, until_s = [], time.monotonic() + arguments.every, time.monotonic() + 60 * arguments.minutes
    print(f"{'min':>5} {'records':>10} {'master MB':>10}  workers MB", flush=True)
    while next_s < until_s and process.poll() is None:
        time.sleep(max(0.0, next_s - time.monotonic()))
        next_s += arguments.every
        samples.append(sample(process, folder))
        records, master, workers = samples[-1]
        print(f"{len(samples) * arguments.every / 60:5.1f} {records:>10,} {master:>10.1f}  " + " ".join(f"{mb:.1f}" for mb in workers),
              flush=True)  # fmt: skip
    try:
        process.wait(300)
    except subprocess.TimeoutExpired:
        end(process)
    say(samples, folder, process.returncode)


def say(samples: list[tuple[int, float, list[float]]], folder: Path, code: int | None) -> None:
    facts = json.loads((folder / "results" / "soak" / "run.json").read_text())
    print(f"exit code {code}, complete: {facts['complete']}, {facts['rounds'][0]['planned_requests']} requests begun, "
          f"{facts['rounds'][0]['records']} records")  # fmt: skip
    first, last = samples[len(samples) // 2], samples[-1]
    millions = (last[0] - first[0]) / 1e6
    if millions > 0:
        print(f"per million requests, second half: master {(last[1] - first[1]) / millions:+.1f} MB, workers "
              f"{(sum(last[2]) - sum(first[2])) / millions:+.1f} MB together")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--rate", type=float, help="requests per second (default: as fast as the users send)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between lines")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="write the run there and keep it (default: a temporary folder)"
    )
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as temporary:
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.null_server", str(port)], cwd=ROOT)
        try:
            wait_for(lambda: bool(psutil.Process(server.pid).net_connections()), what="the server")
            folder = arguments.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            play(arguments, folder.resolve(), f"http://127.0.0.1:{port}")
        finally:
            end(server)


if __name__ == "__main__":
    main()
