"""docs/examples/ci.yml: its steps are run as written, on ports and in folders of our own; the gate passes, or fails on a dead cache."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from locust_kvcache.contract.exit_codes import Exit
from tests.conftest import ROOT
from tests.ports import free_port

OUTSIDE = ("Install", "Audit every package for known vulnerabilities")  # they ask the package index

pytestmark = [
    pytest.mark.analysed,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the example waits with curl, which is not installed"),
]


def steps() -> list[dict[str, Any]]:
    job = yaml.safe_load((ROOT / "docs/examples/ci.yml").read_text())["jobs"]["compare"]
    return [step for step in job["steps"] if "run" in step and step["name"] not in OUTSIDE]


def commands(folder: Path, python: str) -> Path:
    """A folder with the commands of the steps, started by this interpreter."""
    found = folder / "bin"
    found.mkdir()
    for name, words in (("python", ""), ("locust", " -m locust")):
        (found / name).write_text(f'#!/bin/sh\nexec {python}{words} "$@"\n')
        (found / name).chmod(0o755)
    return found


def run_steps(folder: Path, python: str, *changes: tuple[str, str]) -> tuple[int, str]:
    """All steps in one shell, as a runner would: it stops at the first that fails, but runs those with always(). (exit code, output)"""
    ports = {"18000": str(free_port()), "19000": str(free_port())}
    for path, port in (("configs/emulator_single.yaml", "18000"), ("docs/examples/ci-pd.yaml", "19000")):
        (folder / Path(path).name).write_text((ROOT / path).read_text().replace(port, ports[port]))
    script = "set -e\n" + "\n".join(step["run"] for step in steps() if "if" not in step)
    replaced = [
        *ports.items(),
        ("--deployment configs", f"--deployment {folder}"),
        ("--deployment docs/examples", f"--deployment {folder}"),
        ("--output-dir results", f"--output-dir {folder}/results"),
        (" results/", f" {folder}/results/"),
        ("> single.log", f"> {folder}/single.log"),
    ]
    for old, new in (*replaced, ("> pd.log", f"> {folder}/pd.log"), *changes):
        assert old in script
        script = script.replace(old, new)
    environment = {
        **os.environ,
        "PATH": f"{commands(folder, python)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(folder / "page.md"),
    }
    with (folder / "output").open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = shell.wait(600)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)  # the emulators, which a runner ends with its job
    always = "\n".join(step["run"] for step in steps() if "if" in step).replace(" results/", f" {folder}/results/")
    subprocess.run(["bash", "-ec", always], env=environment, check=True)
    return code, (folder / "output").read_text()


def is_late(code: int, output: str) -> bool:
    """On a busy machine the gate may find the load generator late, which is the right answer there."""
    return code == Exit.CLIENT_LATE and "not valid: the load generator was late" in output


def test_the_example_passes_on_the_emulator_and_leaves_its_reports(python: str, tmp_path: Path) -> None:
    code, output = run_steps(tmp_path, python, ("--rounds 2", "--rounds 2 --requests 16 --no-report"))
    assert code == 0 or is_late(code, output), output[-3000:]
    assert (tmp_path / "results/comparison.html").stat().st_size > 0
    assert (tmp_path / "page.md").read_text() == (tmp_path / "results/summary.md").read_text() != ""
    assert ElementTree.parse(tmp_path / "results/gate.xml").getroot() is not None


def test_the_example_fails_when_nothing_reaches_the_store(python: str, tmp_path: Path) -> None:
    fewer = ("--rounds 2", "--rounds 2 --requests 8 --no-report")
    code, output = run_steps(tmp_path, python, ("--role pd", "--role pd --fault put_fails"), fewer)
    assert code in (Exit.TARGET_MISSED, Exit.NOTHING_HIT) or is_late(code, output), output[-3000:]
    assert "hit_ttft_reduction_min" in (tmp_path / "results/gate.xml").read_text()
