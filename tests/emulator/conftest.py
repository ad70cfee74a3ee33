"""An emulator as a process, as users start it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_for_server
from tests.ports import free_port
from tests.warm.jobs import WarmProcess
from tests.warm.servers import start_server

Serve = Callable[..., str]


def routers_of(router: str) -> Path:
    """The environment in which a real router is installed; skips the test where there is none."""
    venv = Path(os.environ.get("KV_ROUTERS") or "/nowhere")
    if not (venv / "bin" / router).exists():
        pytest.skip(f"{router} is not installed: KV_ROUTERS names an environment that has it (docs/routers.md)")
    return venv


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts an emulator with these arguments; its URL."""
    processes: list[subprocess.Popen[bytes] | WarmProcess] = []

    def start(*args: str, **env: str) -> str:
        port = free_port()
        process = start_server("locust_kvcache.emulator", "--port", str(port), "--profile", "cpu_tiny", *args, **env)
        processes.append(process)
        wait_for_server(process, f"http://127.0.0.1:{port}/health", "the emulator")
        return f"http://127.0.0.1:{port}"

    yield start
    for process in processes:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)
