"""Ended requests: what is read later, what at once, and what a listener's order does to the user."""

from __future__ import annotations

import locust as _locust  # noqa: F401  isort: skip  (patches the standard library before anything else uses it)

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.loadgen.worker.finishing import Finisher
from locust_kvcache.loadgen.worker.logged_once import ErrorLog
from tests.conftest import ROOT, LocustProcesses, Stub

LOCUSTFILE = """
import json, os
from locust import events, task
from locust.exception import StopUser
from locust_kvcache import KVCacheUser
from locust_kvcache.loadgen.worker.finishing import Finisher

LOG = open(os.environ["FINISHING_LOG"], "a")
later, now = Finisher.later, Finisher.now


def tell_later(self, ended):
    LOG.write(json.dumps(["later", ended.turn.request_index]) + "\\n")
    later(self, ended)


def tell_now(self, ended):
    now(self, ended)
    LOG.write(json.dumps(["read", ended.turn.request_index]) + "\\n")
    LOG.flush()


Finisher.later, Finisher.now = tell_later, tell_now


@events.init.add_listener
def attach(environment, **_):
    @environment.events.record_finished.add_listener
    def stop_one(record, **_):
        if record.request_index == 0 and record.round == 1 and os.environ.get("STOP_ONE"):
            raise StopUser


class Own(KVCacheUser):
    scenario = "SCENARIO"

    @task
    def ask(self):
        self.run_next_session()
"""


def run(locust: LocustProcesses, stub: Stub, folder: Path, scenario: str, *more: str, **env: str) -> list[list[object]]:
    file, log = folder / "own.py", folder / "log.jsonl"
    file.write_text(LOCUSTFILE.replace("SCENARIO", scenario))
    load = ("--headless", "-u", "2", "-r", "100", "--host", stub.url, "--rounds", "2", *more)
    code, output = locust.run("-f", str(file), *load, FINISHING_LOG=str(log), **env)
    assert code == 0, output
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_only_an_answer_that_the_next_request_carries_is_read_at_once(
    locust: LocustProcesses, stub: Stub, tmp_path: Path
) -> None:
    """Sessions whose turns carry the server's answers: in round 1 all but a session's last turn are read before the next request; in
    round 2, which sends round 1's answers again, none has to be."""
    shipped = (ROOT / "scenarios" / "multi_turn_conversation.yaml").read_text()
    scenario = tmp_path / "answers.yaml"
    scenario.write_text(shipped.replace("reply: planned", "reply: server").replace("multi_turn_conversation", "answers"))
    log = run(locust, stub, tmp_path, str(scenario), "--requests", "8")
    last = {record["session_id"]: record["request_index"] for record in sorted(locust.runs()[0].records, key=lambda r: r["turn"])}
    assert 0 < len(last) < 8
    later = [index for kind, index in log if kind == "later"]
    assert sorted(later) == sorted([*last.values(), *range(8)])
    assert [kind for kind, _ in log].count("read") == 16


def test_an_order_of_a_listener_reaches_the_user_that_sent_the_request(
    locust: LocustProcesses, stub: Stub, tmp_path: Path
) -> None:
    """StopUser for the user of request 0: it sends nothing more, the other one sends all that is left."""
    run(locust, stub, tmp_path, "cold_start", "--requests", "8", STOP_ONE="1")
    records = locust.runs()[0].records
    assert len(records) == 16
    assert all(record["status"] == "ok" for record in records)


def test_a_request_that_cannot_be_finished_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception where none is foreseen: the requests that end after it are finished all the same, and draining ends."""
    finished: list[Any] = []

    def now(_: Finisher, ended: Any) -> None:
        if ended == 1:
            raise RuntimeError("not foreseen")
        finished.append(ended)

    monkeypatch.setattr(Finisher, "now", now)
    agent: Any = SimpleNamespace(errors=ErrorLog())
    environment: Any = None
    finisher = Finisher(environment, agent)
    for ended in (0, 1, 2):
        request: Any = ended
        finisher.later(request)
    finisher.drain()
    assert finished == [0, 2]
