"""The shipped LMCache files in the hands of the real lmcache and mooncake; STORE_PYTHON names an interpreter that has them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for
from tests.deploy.compose import ROOT, services
from tests.ports import free_port

STORE_PYTHON = os.environ.get("STORE_PYTHON", sys.executable)
MASTER = shutil.which("mooncake_master", path=f"{Path(STORE_PYTHON).parent}:{os.environ.get('PATH', '')}")
PROBE = Path(__file__).with_name("store_probe.py")
FILES = sorted((ROOT / "configs").glob("mooncake-*-config*.yaml"))


def importable(*modules: str) -> bool:
    code = "import " + ", ".join(modules)
    return subprocess.run([STORE_PYTHON, "-c", code], capture_output=True, check=False).returncode == 0


def probe(*arguments: str) -> tuple[dict[str, Any], str]:
    """The probe's answer, and everything it said on the way."""
    command = [STORE_PYTHON, str(PROBE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROBE.parent, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.fixture(scope="module")
def lmcache() -> None:
    if not importable("lmcache", "torch"):
        pytest.skip(f"{STORE_PYTHON} has no lmcache with torch: pip install lmcache==0.5.6 torch, and name it in STORE_PYTHON")


@pytest.fixture(scope="module")
def master() -> Iterator[tuple[str, str]]:
    """A real mooncake_master with the compose file's flags, on ports of our own: (RPC address, metadata URL)."""
    if MASTER is None or not importable("mooncake.store"):
        pytest.skip(
            f"{STORE_PYTHON} has no mooncake: pip install mooncake-transfer-engine-non-cuda==0.3.13.post1"
            " (Debian: libibverbs1 libcurl4 libnuma1)"
        )
    _, *flags = services("pd")["mooncake-master"]["command"]
    names = ("rpc_port", "http_metadata_server_port", "metrics_port")
    ours = {name: free_port() for name in names}
    used = [flag for flag in flags if flag.split("=")[0].strip("-") in names]
    assert len(used) == len(names)
    kept = [flag for flag in flags if flag not in used]
    process = subprocess.Popen([MASTER, *kept, *(f"--{name}={port}" for name, port in ours.items())], stderr=subprocess.DEVNULL)
    try:
        health = f"http://127.0.0.1:{ours['metrics_port']}/health"
        wait_for(lambda: urllib.request.urlopen(health, timeout=1).status == 200, what="the master's /health")
        yield f"127.0.0.1:{ours['rpc_port']}", f"http://127.0.0.1:{ours['http_metadata_server_port']}/metadata"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("lmcache")
def test_lmcache_reads_every_key(file: Path) -> None:
    answer, said = probe("parse", str(file))
    assert "nknown" not in said
    assert answer["config"]["chunk_size"] == 256
    assert answer["config"]["remote_storage_plugins"] == ["mooncakestore"]
    assert answer["setup"]["master_server_addr"] == "mooncake-master:50052"
    assert answer["setup"]["rdma_devices"] == ""


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_client_with_the_files_keys_puts_and_gets(master: tuple[str, str], file: Path) -> None:
    answer, _ = probe("put", str(file), *master)
    assert answer | {"reader": ""} == {"reader": "", "missing": [], "setup": 0, "put": 0, "got": True}


def test_the_old_key_leaves_the_client_without_a_master(master: tuple[str, str], tmp_path: Path) -> None:
    """Why the checker refuses it: the address does not arrive, under any name that Mooncake reads."""
    old = tmp_path / "old.yaml"
    old.write_text(FILES[0].read_text().replace("mooncake_master_server_addr", "master_server_address"))
    answer, _ = probe("keys", str(old), *master)
    assert answer["missing"] == ["master_server_addr"]
