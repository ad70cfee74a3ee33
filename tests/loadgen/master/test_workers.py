"""The workers of a master: those that another command has started are sent away by name."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.loadgen.master.workers import Workers
from locust_kvcache.loadgen.options import processes
from locust_kvcache.loadgen.protocol.code_fingerprint import fingerprint


class Clients(dict[str, Any]):
    @property
    def all(self) -> list[Any]:
        return list(self.values())


class Runner:
    """Of a master."""

    def __init__(self, *names: str) -> None:
        self.clients = Clients({name: SimpleNamespace(id=name, state="ready") for name in names})
        self.sent: list[tuple[str, str]] = []

    def send_message(self, kind: str, _data: Any, client_id: str) -> None:
        self.sent.append((kind, client_id))

    def get_worker_index(self, name: str) -> int:
        return list(self.clients).index(name)


def test_a_worker_of_another_command_is_sent_away(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(processes.FORKING, "token", "mine")
    monkeypatch.setattr("locust_kvcache.loadgen.master.workers.MasterRunner", Runner)
    runner: Any = Runner("a_1", "b_2", "c_3")
    workers = Workers(runner)
    for name, command in (("a_1", "mine"), ("b_2", "theirs"), ("c_3", "")):  # the last one was started by hand
        workers.note_files(name, fingerprint(), command)
    with caplog.at_level(logging.ERROR):
        assert workers.running_other_code() == {}
    assert workers.connected() == ["a_1", "c_3"]
    assert runner.sent == [("quit", "b_2")]
    assert "worker b#1 was started by the --processes of another command" in caplog.text
