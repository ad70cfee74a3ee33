"""What a run knows of its rounds when it is stopped, and when its files cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from locust_kvcache.contract.deployment import Access, Transport
from locust_kvcache.loadgen.run.alerts import Alerts
from locust_kvcache.loadgen.run.endings import RunIncomplete
from locust_kvcache.loadgen.run.folder import Reserve
from locust_kvcache.loadgen.run.records_file import Collector
from locust_kvcache.loadgen.run.round_entry import begun
from locust_kvcache.loadgen.run.server_metrics import MetricsFile
from locust_kvcache.loadgen.run.state import Run
from tests.ports import free_port


class TwoRounds(Run):
    """Of two requests each; round 2 is under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._write_error = None
        self._reserve = Reserve(folder)
        self.config: Any = SimpleNamespace(scenarios=(SimpleNamespace(name="s"),))
        self.collector = Collector(folder / "records.jsonl")
        self.metrics: Any = SimpleNamespace(end_sampling=lambda *_: None, error=None)
        self.alerts = Alerts(())
        self.lateness: Any = SimpleNamespace(text=lambda *_: "")
        self.sessions = lambda _: 2  # type: ignore[method-assign]
        self._round_started_s = 0.0
        self.warming_up = None
        self._current = begun("s", 2, "hit", 2, 1, 1)
        self._rounds = [{"scenario": "s", "round": 1, "complete": True}, self._current]
        self._facts = {"rounds": self._rounds, "rounds_planned": {"s": 2}, "foreign_users": {}, "warnings": []}

    def recorded(self, *requests: int, status: str = "ok") -> None:
        self.collector.add(["{}"] * len(requests), [["s", 2, request, status] for request in requests])


def test_a_stop_as_the_last_record_comes_leaves_the_run_complete(tmp_path: Path) -> None:
    run = TwoRounds(tmp_path)
    run.recorded(0, 1)
    run.close_whole_round()
    assert run.all_played
    assert [entry["complete"] for entry in run._rounds] == [True, True]
    assert run._rounds[1]["records"] == 2
    assert run.stopped_reason() == "stopped between rounds"


def test_a_stop_before_it_does_not(tmp_path: Path) -> None:
    run = TwoRounds(tmp_path)
    run.recorded(0)
    run.close_whole_round()
    assert not run.all_played
    assert run._current is not None
    run.recorded(1, status="stopped")  # by that very stop
    run.close_whole_round()
    assert not run.all_played


def test_a_round_that_has_not_begun_is_missing(tmp_path: Path) -> None:
    run = TwoRounds(tmp_path)
    run.recorded(0, 1)
    run._facts["rounds_planned"] = {"s": 3}
    run.close_whole_round()
    assert not run.all_played


def test_metrics_that_cannot_be_written_end_the_run_in_order(tmp_path: Path) -> None:
    page = f"http://127.0.0.1:{free_port()}/metrics"
    metrics = MetricsFile(Path("/dev/full"), (("server", page),), Access(Transport(), "K"), 0.0)
    metrics.border("s", 1, "before")
    assert metrics.error is not None
    metrics.border("s", 1, "after")  # it is not tried again
    run = TwoRounds(tmp_path)
    run.metrics = metrics
    with pytest.raises(
        RunIncomplete, match=r"server_metrics.jsonl cannot be written: .*No space left on device; what was written"
    ):
        run.check_collector()
