"""The wheel, installed where there is no checkout: the main job with its report, init, and a master with two workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from locust_kvcache.loadgen.protocol.code_fingerprint import fingerprint
from tests.conftest import ROOT, RunFiles, hear_sigint, wait_for
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]
LOAD = ("--headless", "-u", "2", "-r", "2", "--requests", "4", "--rounds", "2", "--prompt-tokens", "200", "--output-tokens", "4",
        "--only-summary")  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it; its dependencies are those of the environment that runs the tests."""

    folder: Path
    version: str  # in the wheel's name

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return {**kept, "PATH": f"{self.folder / 'bin'}:{kept['PATH']}", "HOME": str(self.folder)}

    def start(self, cwd: Path, *words: str) -> subprocess.Popen[str]:
        cwd.mkdir(exist_ok=True)
        return subprocess.Popen(
            words, cwd=cwd, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=hear_sigint,
        )  # fmt: skip

    def run(self, cwd: Path, *words: str) -> str:
        """The output of a command that must succeed."""
        process = self.start(cwd, *words)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(base)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = base.glob("*.whl")
    environment = base / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # its own .pth files are not read: no checkout
    return Installed(environment, wheel.name.split("-")[1])


@pytest.fixture(scope="module")
def server(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    folder = tmp_path_factory.mktemp("server")
    process = installed.start(folder, "locust-kvcache", "emulator", "--port", str(port), "--time-scale", "0.05")
    wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok, what="the installed emulator")
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def the_run(folder: Path) -> RunFiles:
    (found,) = folder.glob("results/*/run.json")
    return RunFiles(found.parent)


def test_the_package_comes_from_the_wheel_and_is_whole(installed: Installed, tmp_path: Path) -> None:
    code = "import json, locust_kvcache.loadgen.protocol.code_fingerprint as f; print(json.dumps([f.PACKAGE.as_posix(), f.fingerprint()]))"
    where, found = json.loads(installed.run(tmp_path, "python", "-c", code))
    assert where.startswith(str(installed.folder))
    assert found == fingerprint()  # workers of a checkout and of a wheel of the same code may work together
    kept = {".py", ".yaml", ".html", ".j2", ".css", ".js", ".txt", ".typed", ".json", ".md"}
    tracked = subprocess.run(
        ["git", "ls-files", "locust_kvcache"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    package = Path(where).parent
    assert not [path for path in tracked if Path(path).suffix in kept and not (package / path).is_file()]


def test_the_main_job_in_an_empty_folder(installed: Installed, server: str, tmp_path: Path) -> None:
    output = installed.run(tmp_path, "locust-kvcache", "run", "cold_start", "--host", server, *LOAD)
    run = the_run(tmp_path)
    assert "TTFT, ms" in output
    assert len(run.records) == 8
    assert (run.folder / "report" / "report.html").is_file()
    facts = run.facts
    assert facts["command"][:3] == ["locust-kvcache", "run", "cold_start"]
    assert facts["versions"]["locust_kvcache"] == installed.version
    assert facts["scenario_files"]["cold_start"].startswith(str(installed.folder))
    assert str(ROOT) not in (run.folder / "run.json").read_text()


def test_init_and_a_run_of_what_it_copied(installed: Installed, tmp_path: Path) -> None:
    installed.run(tmp_path, "locust-kvcache", "init", "mine")
    folder = tmp_path / "mine"
    names = "Dockerfile configs/prometheus.yml configs/grafana/dashboards/kvcache.json locustfiles/cold_start.py"
    assert not [name for name in names.split() if (folder / name).read_bytes() != (ROOT / name).read_bytes()]
    shutil.copy(folder / "scenarios" / "cold_start.yaml", folder / "scenarios" / "mine.yaml")
    text = (folder / "scenarios" / "mine.yaml").read_text()
    (folder / "scenarios" / "mine.yaml").write_text(
        text.replace("name: cold_start", "name: mine").replace("requests: 30", "requests: 3")
    )
    output = installed.run(folder, "locust-kvcache", "dry-run", "mine", "-u", "2", "--deployment", "emulator_pd")
    assert [line.split()[:3] for line in output.splitlines() if line.startswith("  mine ")] == [
        ["mine", "1", "3"],
        ["mine", "2", "3"],
    ]


def test_a_master_and_two_workers(installed: Installed, server: str, tmp_path: Path) -> None:
    port = str(free_port())
    workers = [
        installed.start(tmp_path / name, "locust-kvcache", "run", "--worker", "--master-port", port) for name in ("one", "two")
    ]
    try:
        master = (
            "--master",
            "--master-bind-port",
            port,
            "--expect-workers",
            "2",
            "--expect-workers-max-wait",
            "120",
            "--no-report",
        )
        installed.run(tmp_path / "master", "locust-kvcache", "run", "cold_start", "--host", server, *LOAD, *master)
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    run = the_run(tmp_path / "master")
    assert (run.facts["workers"], run.facts["complete"], len(run.records)) == (2, True, 8)
    assert len({record["worker"] for record in run.records}) == 2
