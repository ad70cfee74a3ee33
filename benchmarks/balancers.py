"""Balancers that know nothing of prompts before three emulated engines: what the product finds behind their address.

nginx and HAProxy must be installed (Debian: nginx-light, haproxy); a front whose program is missing is left out.

    python -m benchmarks.balancers [--fronts nginx haproxy_tcp] [--output results/balancers]

Every front has fresh engines, is given to the product by its address alone (--host), and plays two rounds. Who got the requests is what
the engines' own pages counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ending import end
from benchmarks.routers import ROOT, free_ports, get

ENGINES, REQUESTS, USERS = 3, 50, 6
START_TIMEOUT_S = 30.0
ANSWERED = re.compile(r"^vllm:request_success_total\{[^}]*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Front:
    """How a front is configured, with {port}, {servers} and {folder}, and started: {program} {config}."""

    program: str
    config: str
    server: str  # a line for each engine, with {n} and {port}
    command: tuple[str, ...]


NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ }}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
scgi_temp_path {folder};
upstream engines {{ %s {servers} %s }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://engines; proxy_buffering off; %s }} }} }}
"""
KEEP = 'proxy_http_version 1.1; proxy_set_header Connection "";'
HAPROXY = """defaults
  timeout connect 5s
  timeout client 300s
  timeout server 300s
listen front
  bind 127.0.0.1:{port}
  mode %s
  balance %s
{servers}
"""


def _nginx(before: str = "", after: str = "", location: str = "") -> Front:
    return Front("nginx", NGINX % (before, after, location), "server 127.0.0.1:{port};", ("-c", "{config}"))


def _haproxy(mode: str, balance: str) -> Front:
    return Front("haproxy", HAPROXY % (mode, balance), "  server e{n} 127.0.0.1:{port}\n", ("-db", "-f", "{config}"))


FRONTS = {
    "nginx": _nginx(),
    "nginx_keepalive": _nginx(after="keepalive 32;", location=KEEP),
    "nginx_least_conn": _nginx("least_conn;"),
    "nginx_ip_hash": _nginx("ip_hash;"),
    "haproxy_http": _haproxy("http", "roundrobin"),
    "haproxy_http_leastconn": _haproxy("http", "leastconn"),
    "haproxy_tcp": _haproxy("tcp", "roundrobin"),
    "haproxy_tcp_leastconn": _haproxy("tcp", "leastconn"),
}


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, ready_url: str) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError):
                get(ready_url)
                break
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{command[0]} did not come up:\n{log.read_text()[-1500:]}")
            time.sleep(0.1)
        yield
    finally:
        end(process)


def answered(port: int) -> float:
    return sum(map(float, ANSWERED.findall(get(f"http://127.0.0.1:{port}/metrics"))))


def measure(name: str, output: Path) -> str:
    """A row of the table."""
    front, folder = FRONTS[name], output / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, *engines = free_ports(1 + ENGINES)
    servers = "".join(front.server.format(n=n, port=one) for n, one in enumerate(engines, start=1))
    config = folder / "front.conf"
    config.write_text(front.config.format(port=port, servers=servers, folder=folder.resolve()))
    address = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        for engine in engines:
            command = [sys.executable, "-m", "locust_kvcache", "emulator", "--port", str(engine), "--profile", "cpu_tiny"]
            stack.enter_context(running(command, folder / f"{engine}.log", f"http://127.0.0.1:{engine}/health"))
        command = [front.program, *(part.format(config=config.resolve()) for part in front.command)]
        stack.enter_context(running(command, folder / "front.log", f"{address}/health"))
        load = [
            "--headless",
            "-u",
            str(USERS),
            "-r",
            str(USERS),
            "--requests",
            str(REQUESTS),
            "--rounds",
            "2",
            "--prompt-tokens",
            "600",
        ]
        command = [
            sys.executable,
            "-m",
            "locust_kvcache",
            "run",
            "long_context_high_reuse",
            *load,
            "--warm-up",
            "off",
            "--no-report",
        ]
        subprocess.run([*command, "--host", address, "--output-dir", str(folder), "--run-name", "run"], cwd=ROOT, check=True)
        requests = [answered(engine) for engine in engines]
    return row(name, folder / "run", requests)


def row(name: str, run: Path, requests: Sequence[float]) -> str:
    """`requests` are those of the engines, with the preflight's; what the run warns of, and its rounds' hit rates."""
    subprocess.run([sys.executable, "-m", "locust_kvcache", "report", str(run)], cwd=ROOT, check=True, capture_output=True)
    stats, info = (json.loads((run / file).read_text()) for file in ("stats.json", "run.json"))
    by_engine = " ".join(f"{count:.0f}" for count in requests)
    said = next(
        (text.split(": ")[1].split(".")[0] for text in info["warnings"] if text.startswith("several servers")), "one server"
    )
    rates = [f"{100 * found['cached_tokens'] / found['prompt_tokens']:.1f} %" for found in stats["verdicts"]]
    codes = sorted({problem["code"] for problem in stats["problems"]} & {"seen_in_part", "several_servers", "counter_reset"})
    return f"| {name} | {by_engine} | {said} | {' | '.join(rates)} | {stats['verdicts'][-1]['evidence']} | {', '.join(codes)} |"


def main() -> int:
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balancers", description=__doc__, formatter_class=raw)
    parser.add_argument("--fronts", nargs="+", choices=list(FRONTS), default=list(FRONTS), help="default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "balancers", help="folder (default: results/balancers)")
    options = parser.parse_args()
    rows = [measure(name, options.output) for name in options.fronts if shutil.which(FRONTS[name].program)]
    print(
        "| front | requests of each engine | what its page is | cold | round 2 | evidence | problems |\n|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
