"""Workers of another checkout: named before any load, with the files that differ."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from locust_kvcache.loadgen.protocol.code_fingerprint import differences, fingerprint, fingerprint_of
from tests.conftest import LOCUST, ROOT, LocustProcesses, Stub, wait_for
from tests.ports import free_port

FILE = "locustfiles/cold_start.py"
CHANGED = "locust_kvcache/workload/lengths.py"


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    """A copy of the tree in which one constant of the plan is another."""
    for name in ("locust_kvcache", "locustfiles", "scenarios", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "other" / name)  # with the bytecode, which the times of the files keep valid
    lengths = tmp_path / "other" / CHANGED
    lengths.write_text(lengths.read_text().replace("TRIES = 1000", "TRIES = 1001"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "other")
    return tmp_path / "other"


def test_differences_name_files(other_checkout: Path) -> None:
    assert differences(fingerprint(), fingerprint()) == ""
    package = other_checkout / "locust_kvcache"
    assert differences(fingerprint(), fingerprint_of(package)) == CHANGED
    (package / "workload" / "mine.py").write_text("")
    (package / "workload" / "plan.py").unlink()
    text = differences(fingerprint(), fingerprint_of(package))
    only_one_has = "locust_kvcache/workload/plan.py (not on the worker), locust_kvcache/workload/mine.py (only on the worker)"
    assert text == f"{CHANGED}, {only_one_has}"
    assert differences(fingerprint(), {}).endswith("more")


def start_other(locust: LocustProcesses, folder: Path, port: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    process = subprocess.Popen(
        [*LOCUST, "-f", FILE, "--worker", "--master-port", port], cwd=folder, env=env, text=True, start_new_session=True
    )
    locust.processes.append(process)
    return process


def test_a_worker_of_another_checkout_is_refused_before_any_load(
    locust: LocustProcesses, stub: Stub, other_checkout: Path
) -> None:
    port = str(free_port())
    start_other(locust, other_checkout, port)
    load = ("-f", FILE, "--headless", "-u", "2", "-r", "10", "--host", stub.url, "--requests", "4")
    master = ("--master", "--master-bind-port", port, "--expect-workers", "1", "--expect-workers-max-wait", "60")
    code, output = locust.run(*load, *master)
    assert code == 3, output
    assert f"#0 differs in {CHANGED}. Install the same version" in output
    assert not locust.runs()
    assert not stub.bodies()


def test_one_that_comes_late_gets_no_work(locust: LocustProcesses, slow_stub: Stub, other_checkout: Path) -> None:
    port = str(free_port())
    locust.start("-f", FILE, "--worker", "--master-port", port)
    load = ("-f", FILE, "--headless", "-u", "4", "-r", "10", "--host", slow_stub.url, "--requests", "24", "--rounds", "2",
            "--output-tokens", "12")  # fmt: skip
    master = locust.start(
        *load, "--master", "--master-bind-port", port, "--expect-workers", "1", "--expect-workers-max-wait", "20"
    )
    run = wait_for(lambda: locust.runs() and locust.runs()[0], what="the run")
    late = start_other(locust, other_checkout, port)
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    assert late.wait(60) == 0
    assert any(f"came late and gets no work: it differs in {CHANGED}" in text for text in run.facts["warnings"])
    assert len({record["worker"] for record in run.records}) == 1
    assert run.facts["users"] == 4
