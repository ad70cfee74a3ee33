"""What people know from Locust still does what it does: wait_time, tags, a LoadTestShape, a class of their own beside ours."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.conftest import LocustProcesses, Stub
from tests.loadgen.master.test_coordinator import assert_each_once_per_round, headless

OURS = """
from locust import LoadTestShape, constant, tag, task
from locust_kvcache.loadgen.user import KVCacheUser

class Slow(KVCacheUser):
    scenario = "cold_start"
    {body}
"""


def locustfile(folder: Path, body: str, more: str = "") -> str:
    path = folder / "mine.py"
    path.write_text(OURS.format(body=body) + more)
    return str(path)


def test_wait_time_lies_between_the_sessions_of_a_user(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    file = locustfile(tmp_path, "wait_time = constant(0.3)\n    @task\n    def ask(self):\n        self.run_next_session()\n")
    code, output = locust.run(*headless(stub, "-u", "1", "--requests", "5", locustfile=file))
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)
    starts = sorted(r["started_at_s"] for r in run.records if r["round"] == 1)
    assert all(b - a >= 0.3 for a, b in itertools.pairwise(starts))


def test_tags_choose_the_task(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    body = (
        "@tag('quiet')\n    @task(1000)\n    def never(self):\n        raise SystemExit(9)\n\n"
        "    @tag('load')\n    @task\n    def ask(self):\n        self.run_next_session()\n"
    )
    code, output = locust.run(*headless(stub, "--tags", "load", locustfile=locustfile(tmp_path, body)))
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)


def test_a_shape_changes_the_users_and_nothing_is_lost(locust: LocustProcesses, slow_stub: Stub, tmp_path: Path) -> None:
    shape = "\nclass Steps(LoadTestShape):\n    def tick(self):\n        return (1, 10) if self.get_run_time() < 5 else (4, 10)\n"
    file = locustfile(tmp_path, "@task\n    def ask(self):\n        self.run_next_session()\n", shape)
    code, output = locust.run(
        "-f", file, "--headless", "--host", slow_stub.url, "--requests", "12", "--rounds", "1", "--output-tokens", "8"
    )
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, slow_stub, rounds=1)
    spans = [(r["started_at_s"], r["started_at_s"] + r["e2e_ms"] / 1000) for r in run.records]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert min(at_once) == 1  # the first step
    assert max(at_once) == 4  # the second
    assert any("users were changed from 1 to 4" in text for text in run.facts["warnings"])
