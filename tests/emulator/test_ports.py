"""A port that the emulator cannot have is named with its option and the way out; nothing is half started."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.ports import free_port


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def refused(*args: str) -> str:
    command = [sys.executable, "-m", "locust_kvcache.emulator", "--profile", "cpu_tiny", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("option", "more"),
    [
        ("--port", []),
        ("--engine-ports", ["--role", "fleet", "--engines", "1"]),
        ("--mooncake-port", ["--role", "pd"]),
    ],
)
def test_a_port_that_is_taken(taken: str, option: str, more: list[str]) -> None:
    ports = [] if option == "--port" else ["--port", str(free_port())]
    assert f"error: {option} {taken}: another process listens there" in refused(*more, *ports, option, taken)


def test_a_port_that_no_machine_has() -> None:
    assert "--port is 70000; expected 0 to 65535" in refused("--port", "70000")


def test_a_host_that_is_not_this_machine() -> None:
    assert "cannot listen at --host nowhere.invalid" in refused("--host", "nowhere.invalid", "--port", str(free_port()))


def test_a_page_of_a_store_that_is_not_there() -> None:
    said = refused("--port", str(free_port()), "--mooncake-port", str(free_port()))
    assert "--mooncake-port needs a store, and --role single of profile 'cpu_tiny' has none" in said
