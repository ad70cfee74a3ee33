"""Starts what the monitoring tests look at: an emulator and recorded pages, as processes on free ports."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from tests.conftest import ROOT, RunFiles, wait_for
from tests.ports import free_port
from tests.warm.servers import start_server

FIXTURES = ROOT / "tests" / "fixtures" / "monitoring"
GROWING = re.compile(r"_(total|sum|count|bucket|(read|write)_bytes)$")


@contextmanager
def _process(command: list[str], alive_url: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: requests.get(alive_url, timeout=1).ok, what=alive_url)
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def emulator(*args: str, alive: str = "health") -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    process = start_server("locust_kvcache.emulator", "--port", url.rsplit(":", 1)[1], *args)
    try:
        wait_for(lambda: requests.get(f"{url}/{alive}", timeout=1).ok, what=f"{url}/{alive}")
        yield url
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def web_ui(output_dir: Path, *args: str) -> Iterator[str]:
    """Locust with its page, and with reports."""
    url = f"http://127.0.0.1:{free_port()}"
    page = ["--web-host", "127.0.0.1", "--web-port", url.rsplit(":", 1)[1], "--output-dir", str(output_dir)]
    with _process([sys.executable, "-m", "locust", *page, *args], f"{url}/"):
        yield url


def runs(output_dir: Path) -> list[RunFiles]:
    """Oldest first."""
    found = [RunFiles(path.parent) for path in output_dir.glob("*/run.json")]
    return sorted(found, key=lambda run: str(run.facts["started_at"]))


def _grown(page: str, factor: float) -> str:
    """The counters of a recorded page, some time later."""
    lines = []
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        grows = GROWING.search(series.split("{")[0])
        lines.append(f"{series} {float(value) * factor}" if grows else line)
    return "\n".join(lines) + "\n"


@contextmanager
def recorded(*files: str) -> Iterator[str]:
    """host:port of recorded pages whose counters grow as on a server at work: twice as high after 20 s."""
    page = "".join((FIXTURES / f"{name}.prom").read_text() for name in files)
    began_s = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(_grown(page, 1 + (time.monotonic() - began_s) / 20).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def prometheus(folder: Path, targets: dict[str, str], more_jobs: dict[str, str]) -> Iterator[str]:
    """A real Prometheus with our own configuration, its targets moved to where they are here, scraping every second."""
    config = yaml.safe_load((ROOT / "configs" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            group["targets"] = [targets[target] for target in group["targets"]]
    config["scrape_configs"] += [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in more_jobs.items()]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with _process([*command, f"--web.listen-address={url.removeprefix('http://')}"], f"{url}/-/ready"):
        yield url
