"""Shared by all tests: a server that is not ours, and Locust as a real subprocess from the project's root."""

from __future__ import annotations

import locust as _locust  # noqa: F401  isort: skip  (importing requests before locust crashes: it patches ssl)

import collections
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests
from hypothesis import HealthCheck, settings

from locust_kvcache.analysis import pipeline
from tests.long import mark_long
from tests.ports import free_port
from tests.warm.jobs import UNANALYSED, WarmProcess
from tests.warm.servers import start_server
from tests.warm.start import Warm, fork_workers
from tests.work import works

Module = Callable[..., subprocess.CompletedProcess[str]]
Process = subprocess.Popen[str] | WarmProcess
ROOT = Path(__file__).resolve().parent.parent
LOCUST = [sys.executable, "-m", "locust"]
gc.disable()  # until all is collected: nearly all that is made until then stays
LOCUST_FIXTURES = {"locust", "fresh_locust", "python"}
# hundreds of processes import the package: without bytecode each compiles it anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["LC_ALL"] = "C.UTF-8"  # tests read English, on any machine
# no property test judges a busy machine, and all try the same examples everywhere; HYPOTHESIS_PROFILE=default tries others each time
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
COLLECTED = pytest.StashKey[list[str]]()
TIMED = "timed"  # the group of tests that compare times with known ones: never two of them at once


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist waits for its next test in gevent's loop, as Locust has patched threading; a loop with nothing to wait
    for would end."""
    if hasattr(config, "workerinput"):
        gevent.get_hub().loop.timer(3600, 3600).start(lambda: None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if not os.environ.get("KV_FRESH_PROCESSES") and Path("/proc/self/fd").exists():
        fork_workers(config, specs)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A text that is long has its argument's name in the test's id, as workers of pytest-xdist send ids to and fro."""
    return argname if isinstance(val, str | bytes) and len(val) > 200 else None


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no collection of garbage looks at it again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist's own hook, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that start Locust are slow, and each goes to the worker of pytest-xdist that is free; of all others a file stays with one
    worker, which then makes the file's emulator or table once. What waits (Locust) and what computes (files) take turns."""
    config.stash[COLLECTED] = [item.nodeid for item in items]
    mark_long(items)
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        starts_locust = bool(LOCUST_FIXTURES & set(getattr(item, "fixturenames", ())))
        if works(item):
            item.add_marker(pytest.mark.slow)
        if starts_locust:
            item.add_marker(pytest.mark.flaky(reruns=1))  # real processes on a machine that others use; a summary names each
        if (group := item.get_closest_marker("xdist_group")) is None and not starts_locust:
            group = pytest.mark.xdist_group(item.nodeid.split("::")[0]).mark
            item.add_marker(pytest.mark.xdist_group(*group.args))
        if group is not None and group.args[0] == TIMED:
            item.add_marker(
                pytest.mark.flaky(reruns=2, only_rerun="AssertionError")
            )  # another program's burst; a summary names each
        groups.setdefault(item.nodeid if group is None else str(group.args[0]), []).append(item)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = [item for name in in_turns(groups) for item in groups[name]]


def in_turns(groups: dict[str, list[pytest.Item]]) -> list[str]:
    """The group of timed tests, which takes longest, then files of tests and single tests in turns."""
    together = sorted((name for name in groups if len(groups[name]) > 1), key=lambda name: name != TIMED)
    alone = [name for name in groups if len(groups[name]) == 1]

    def place(name: str) -> float:
        if "test_browser" in name:  # waits for two minutes: alone at the end it would be waited for
            return 0.05
        return together.index(name) / len(together) if name in together else (alone.index(name) + 0.5) / len(alone)

    return sorted(groups, key=place)


@pytest.fixture(autouse=True)
def _only_slow_tests_work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a process or analyses a run, where tests/work.py has not seen that it does, fails."""
    if request.node.get_closest_marker("slow") is None:

        def refused(*args: Any, **more: Any) -> None:
            raise AssertionError("this test starts a process or analyses a run: mark it slow, make test-quick is to leave it out")

        monkeypatch.setattr(subprocess.Popen, "__init__", refused)
        monkeypatch.setattr(pipeline, "_analyse", refused)


@pytest.fixture(autouse=True)
def _analysed_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the warm interpreters run is analysed at its end where the test is marked `analysed` or `long`."""
    if not any(request.node.get_closest_marker(name) for name in ("analysed", "long")):
        monkeypatch.setenv(UNANALYSED, "1")


def wait_for(condition: Any, seconds: float = 120.0, what: str = "condition", pause_s: float = 0.1) -> Any:
    """The first truthy result of `condition`; fails loudly when it never comes."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        try:
            if found := condition():
                return found
        except (OSError, requests.RequestException):
            pass
        time.sleep(pause_s)
    raise AssertionError(f"{what} did not come within {seconds} s")


def wait_for_server(process: Process | subprocess.Popen[bytes], url: str, what: str) -> None:
    """Until it answers at `url`; of one that has ended at once its exit code and what it said."""

    def answers() -> bool:
        if (code := process.poll()) is not None:
            said = process.output.read_text() if isinstance(process, WarmProcess) else ""
            raise AssertionError(f"{what} ended with exit code {code} before it answered: {said}")
        return requests.get(url, timeout=1).ok

    wait_for(answers, what=what)


def hear_sigint() -> None:
    """A suite that a shell has put into the background is started with SIGINT ignored, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class Stub:
    """The test server and what it was asked."""

    port: int
    log: Path
    process: subprocess.Popen[bytes] | WarmProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[dict[str, Any]]:
        """Of all requests whose line is whole: the server may be writing one."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [json.loads(line)["body"] for line in lines if line.endswith("\n")]

    def times_sent(self, nonce: str) -> collections.Counter[str]:
        """How often each request of the run with that nonce arrived (probes have other nonces)."""
        sent: collections.Counter[str] = collections.Counter()
        for body in self.bodies():
            first = body["messages"][0]["content"] if "messages" in body else body["prompt"]
            if first.startswith(nonce):
                sent[json.dumps(body, sort_keys=True)] += 1
        return sent


def start_stub(folder: Path, *delays: str) -> Stub:
    port, log = free_port(), folder / f"stub-{time.monotonic_ns()}.jsonl"
    process = start_server("tests.stub_server", str(port), str(log), *delays)
    wait_for_server(process, f"http://127.0.0.1:{port}/v1/models", "the stub server")
    return Stub(port, log, process)


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """Answers in about 30 ms."""
    server = start_stub(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def slow_stub(tmp_path: Path) -> Iterator[Stub]:
    """Takes half a second to its first token and a second for ten more."""
    server = start_stub(tmp_path, "0.5", "0.1")
    yield server
    server.process.kill()
    server.process.wait()


@dataclass
class RunFiles:
    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text())

    @property
    def records(self) -> list[dict[str, Any]]:
        """Of all lines that are whole: the run may be writing one."""
        lines = (self.folder / "records.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "server_metrics.jsonl").read_text().splitlines()]


class LocustProcesses:
    """Starts Locust processes for one test, and ends what is left of them."""

    def __init__(self, output_dir: Path, warm: Warm | None = None) -> None:
        self.output_dir, self._warm = output_dir, warm
        self.processes: list[Process] = []
        self.quiet = False  # as users see it: no log lines

    def start(self, *args: str, **env: str) -> Process:
        command = [*args]
        if (
            "--processes" in args and "--master-bind-port" not in args
        ):  # a port of its own, so that suites beside one another do not meet
            command += ["--master-bind-port", str(free_port())]
        if "--worker" not in args:
            command += ["--output-dir", str(self.output_dir), "--no-report"]
            command += [] if "--loglevel" in args or self.quiet else ["--loglevel", "INFO"]  # what a test waits for
            command += [] if "--warm-up" in args else ["--warm-up", "off"]  # tests count what a server gets
        process: Process
        if self._warm is None or "PYTHONPATH" in env:
            process = subprocess.Popen(
                [*LOCUST, *command], cwd=ROOT, env={**os.environ, **env}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=hear_sigint,
            )  # fmt: skip
        else:
            process = self._warm.locust(command, {**os.environ, **env})
        self.processes.append(process)
        return process

    def run(self, *args: str, timeout_s: float = 240, **env: str) -> tuple[int, str]:
        """(exit code, all output) of one process that ends by itself."""
        process = self.start(*args, **env)
        output, _ = process.communicate(timeout=timeout_s)
        return process.returncode, output

    def runs(self) -> list[RunFiles]:
        """Finished and unfinished runs, oldest first."""
        folders = [path.parent for path in self.output_dir.glob("*/run.json")]
        return sorted((RunFiles(folder) for folder in folders), key=lambda run: run.facts["started_at"])

    def end(self) -> None:
        """What was still running has its output shown, if the test failed: a hang says how far it came."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    print(f"still running at the end of the test: {process.args}", process.communicate(timeout=20)[0], sep="\n")
            process.wait()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm | None:
    """None where KV_FRESH_PROCESSES is set: every process is then started anew, as users start it."""
    if os.environ.get("KV_FRESH_PROCESSES"):
        return None
    base = tmp_path_factory.getbasetemp()
    return Warm((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "warm")


@pytest.fixture(scope="session")
def python(warm: Warm | None) -> str:
    """In place of sys.executable: an interpreter that need not import Locust, nor pandas, for `-m locust_kvcache`."""
    return sys.executable if warm is None else str(warm.python)


@pytest.fixture(scope="session")
def module(warm: Warm | None) -> Module:
    """`python -m NAME ARGS` as a process of its own, which has imported pandas already."""

    def fresh(name: str, *args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", name, *map(str, args)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return fresh if warm is None else warm.module


@pytest.fixture
def locust(tmp_path: Path, warm: Warm | None) -> Iterator[LocustProcesses]:
    processes = LocustProcesses(tmp_path / "results", warm)
    yield processes
    processes.end()


@pytest.fixture
def fresh_locust(tmp_path: Path) -> Iterator[LocustProcesses]:
    """Each process started anew, by a Python that has imported nothing yet."""
    processes = LocustProcesses(tmp_path / "results")
    yield processes
    processes.end()
