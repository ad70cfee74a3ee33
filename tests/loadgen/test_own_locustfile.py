"""A user's own locustfile, outside the checkout: mixed classes spawn as Locust decides, only ours are counted, others are named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, LocustProcesses, RunFiles, Stub, wait_for
from tests.loadgen.master.test_coordinator import assert_each_once_per_round, swarm
from tests.ports import free_port

EXAMPLE = ROOT / "docs" / "examples" / "own_locustfile.py"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The documented example in a folder of its own."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Path(shutil.copy(EXAMPLE, folder / "mine.py"))


def base(mine: Path, stub: Stub, *more: str) -> tuple[str, ...]:
    return ("-f", str(mine), "-u", "6", "-r", "100", "--host", stub.url, "--requests", "12", "--rounds", "2", *more)


def assert_mixed(run: RunFiles, stub: Stub, code: int, output: str) -> None:
    """6 users: one HealthCheck by its fixed count, and of the other five three Assistants and two Browsers by weight."""
    facts: dict[str, Any] = run.facts
    assert code == 0, output
    assert_each_once_per_round(run, stub)
    assert facts["users"] == 3
    assert facts["nonce_given"] is False
    assert facts["foreign_users"] == {"Browser": 2, "HealthCheck": 1}
    assert "not there" not in output
    foreign = [entry["foreign_requests"] for entry in facts["rounds"]]
    assert all(set(found) <= {"Browser", "HealthCheck"} for found in foreign)
    assert sum(found.get("Browser", 0) for found in foreign) > 0
    (warning,) = [text for text in facts["warnings"] if text.startswith("foreign load")]
    assert "Browser (2 users)" in warning


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_the_example_headless(locust: LocustProcesses, stub: Stub, mine: Path, processes: tuple[str, ...]) -> None:
    code, output = locust.run(*base(mine, stub, "--headless", *processes))
    (run,) = locust.runs()
    assert_mixed(run, stub, code, output)


def test_master_and_workers(locust: LocustProcesses, stub: Stub, mine: Path) -> None:
    port = str(free_port())
    for _ in range(2):
        locust.start("-f", str(mine), "--worker", "--master-port", port)
    master = ("--master", "--master-bind-port", port, "--expect-workers", "2", "--expect-workers-max-wait", "60")
    code, output = locust.run(*base(mine, stub, "--headless", *master))
    (run,) = locust.runs()
    assert_mixed(run, stub, code, output)


def test_the_class_picker_of_the_web_ui(locust: LocustProcesses, stub: Stub, mine: Path) -> None:
    port = str(free_port())
    page = f"http://127.0.0.1:{port}"
    locust.start(*base(mine, stub, "--class-picker", "--web-host", "127.0.0.1", "--web-port", port))
    wait_for(lambda: requests.get(page, timeout=1).ok, what="the web UI")
    refused = swarm(port, host=stub.url, user_classes="Browser")
    assert not refused["success"]
    assert "no scenario" in refused["message"]
    assert swarm(port, host=stub.url, user_classes=["Assistant", "Browser"], user_count=5)["success"]
    run = wait_for(lambda: locust.runs() and locust.runs()[0].facts["complete"] and locust.runs()[0], what="the run's end")
    assert_each_once_per_round(run, stub)
    assert (run.facts["users"], run.facts["foreign_users"]) == (3, {"Browser": 2})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-T", "browse"), "--tags browse leaves Assistant without a task"),
        (("--exclude-tags", "plan"), "--exclude-tags plan leaves Assistant without a task"),
        (("-u", "1", "-r", "1"), "none of the 1 users is a KVCacheUser (they are 1 HealthCheck)"),
    ],
)
def test_nobody_to_send_the_plan_is_one_line(
    locust: LocustProcesses, stub: Stub, mine: Path, more: tuple[str, ...], said: str
) -> None:
    code, output = locust.run(*base(mine, stub, "--headless", *more))
    assert code == 3, output
    assert said in output
    assert "Traceback" not in output
    assert not locust.runs()


def test_only_foreign_classes_are_refused(locust: LocustProcesses, stub: Stub, mine: Path) -> None:
    code, output = locust.run("Browser", *base(mine, stub, "--headless", "--scenarios", "cold_start"))
    assert code == 3, output
    assert "none of the user classes is a KVCacheUser" in output


def test_a_class_without_a_scenario_sends_what_is_named(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    """Two classes of one's own share a scenario; on_start and on_stop are the user's own."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from locust import task\n"
        "from locust_kvcache import KVCacheUser\n"
        "class Base(KVCacheUser):\n"
        "    abstract = True\n"
        "    def on_start(self): self.begun = True\n"
        "    def on_stop(self): assert self.begun\n"
        "    @task\n"
        "    def ask(self): self.run_next_session()\n"
        "class One(Base): pass\n"
        "class Two(Base): pass\n"
    )
    code, output = locust.run(
        "-f", str(mine), "--headless", "-u", "4", "-r", "4", "--host", stub.url, "--requests", "8", "--rounds", "2",
        "--scenarios", "cold_start", KV_NONCE="5eed",
    )  # fmt: skip
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)
    assert (run.facts["users"], run.facts["foreign_users"]) == (4, {})
    assert "foreign_requests" not in run.facts["rounds"][0]
    assert (run.facts["nonce"], run.facts["nonce_given"], run.facts["server"]["api"]) == ("5eed", True, "chat")
