"""An exception anywhere on a request's way, in our code or a user's: one record each, rounds that end, a traceback once."""

from __future__ import annotations

import collections
from pathlib import Path

from tests.conftest import LocustProcesses, Stub

LOCUSTFILE = """
from locust import events, task

import locust_kvcache.loadgen.worker.finishing as finishing
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.loadgen.user import KVCacheUser

make_record, remember, request = finishing.make_record, PreparedRequests.remember, PreparedRequests.request


def broken_record(work, turn, *args):
    if turn.request_index in (0, 1, 2):
        raise LookupError("no such figure")
    return make_record(work, turn, *args)


def broken_request(self, session, turn):
    if turn.request_index in (3, 4):
        raise TypeError("no such text")
    return request(self, session, turn)


def broken_remember(self, turn, *args):
    if turn.request_index == 5:
        raise UnicodeError("half a character \\ud83d")
    return remember(self, turn, *args)


finishing.make_record = broken_record
PreparedRequests.request, PreparedRequests.remember = broken_request, broken_remember


@events.init.add_listener
def attach(environment, **_):
    def listener(record, **_):
        raise ZeroDivisionError("a user's own mistake")

    environment.events.record_finished.add_listener(listener)


class Own(KVCacheUser):
    scenario = "cold_start"

    @task
    def ask(self):
        self.run_next_session()
"""


def test_one_record_each_whatever_is_raised(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(LOCUSTFILE)
    _, output = locust.run(
        "-f", str(file), "--headless", "-u", "3", "-r", "100", "--host", stub.url, "--requests", "8", "--rounds", "2"
    )
    run = locust.runs()[0]
    counts = collections.Counter((record["round"], record["request_index"]) for record in run.records)
    assert counts == {(number, index): 1 for number in (1, 2) for index in range(8)}
    assert (run.facts["failed_requests"], run.facts["lost_requests"]) == (12, 0), output  # the barrier opened in both rounds
    by_index = {record["request_index"]: record for record in run.records if record["round"] == 2}
    assert {index for index, record in by_index.items() if record["status"] == "internal_error"} == {0, 1, 2, 3, 4, 5}
    assert by_index[0]["error"] == "LookupError while recording a request: no such figure"
    assert by_index[3]["error"] == "TypeError while sending a request: no such text"
    assert by_index[5]["error"] == "UnicodeError while recording a request: half a character ?"
    assert (by_index[0]["planned_prompt_tokens"], by_index[0]["planned_output_tokens"]) == (4078, 40)  # what is known is kept
    assert by_index[0]["ttft_ms"] is None
    assert by_index[6]["status"] == by_index[7]["status"] == "ok"
    for mistake in ("LookupError", "TypeError", "UnicodeError", "ZeroDivisionError"):
        assert output.count(f"\n{mistake}: ") == 1, output  # the last line of a traceback
