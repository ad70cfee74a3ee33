"""Workers of another checkout: named before any load, with the files that differ."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from locust_kvcache.loadgen.protocol.code_fingerprint import differences, fingerprint
from tests.conftest import LOCUST, ROOT, LocustProcesses, Stub, free_port, wait_for

FILE = "locustfiles/cold_start.py"


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    """A copy of the tree in which one scenario is another."""
    for name in ("locust_kvcache", "locustfiles", "scenarios", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "other" / name, ignore=shutil.ignore_patterns("__pycache__"))
    scenario = tmp_path / "other" / "scenarios" / "cold_start.yaml"
    scenario.write_text(scenario.read_text().replace("tokens: 4000", "tokens: 4001"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "other")
    return tmp_path / "other"


def test_differences_name_files(other_checkout: Path) -> None:
    assert differences(fingerprint(), fingerprint()) == ""
    package, scenarios = other_checkout / "locust_kvcache", other_checkout / "scenarios"
    assert differences(fingerprint(), fingerprint(package, scenarios)) == "scenarios/cold_start.yaml"
    (other_checkout / "scenarios" / "mine.yaml").write_text("")
    (other_checkout / "locust_kvcache" / "workload" / "plan.py").unlink()
    text = differences(fingerprint(), fingerprint(package, scenarios))
    only_one_has = "locust_kvcache/workload/plan.py (not on the worker), scenarios/mine.yaml (only on the worker)"
    assert text == f"scenarios/cold_start.yaml, {only_one_has}"
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
    assert "#0 differs in scenarios/cold_start.yaml. Bring the checkouts to one commit" in output
    assert not locust.runs()
    assert not stub.bodies()


def test_one_that_comes_late_gets_no_work(locust: LocustProcesses, slow_stub: Stub, other_checkout: Path) -> None:
    port = str(free_port())
    locust.start("-f", FILE, "--worker", "--master-port", port)
    load = ("-f", FILE, "--headless", "-u", "4", "-r", "10", "--host", slow_stub.url, "--requests", "8", "--rounds", "2")
    master = locust.start(
        *load, "--master", "--master-bind-port", port, "--expect-workers", "1", "--expect-workers-max-wait", "20"
    )
    run = wait_for(lambda: locust.runs() and locust.runs()[0], what="the run")
    late = start_other(locust, other_checkout, port)
    output, _ = master.communicate(timeout=240)
    assert master.returncode == 0, output
    assert late.wait(60) == 0
    assert any("came late and gets no work: it differs in scenarios/cold_start.yaml" in text for text in run.facts["warnings"])
    assert len({record["worker"] for record in run.records}) == 1
    assert run.facts["users"] == 4
