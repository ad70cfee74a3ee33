"""What the monitoring tests look at: an emulator and recorded pages come in as processes on free ports, addresses go out."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.conftest import ROOT, RunFiles, free_port, wait_for


@contextmanager
def _process(command: list[str], alive_url: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: requests.get(alive_url, timeout=1).ok, what=alive_url)
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def emulator(*args: str) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    with _process([sys.executable, "-m", "emulator", "--port", url.rsplit(":", 1)[1], *args], f"{url}/health"):
        yield url


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
