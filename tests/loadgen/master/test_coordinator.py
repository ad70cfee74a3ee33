"""Every planned request exactly once per round, by the server's own log: one process, several, master and workers, web UI."""

from __future__ import annotations

import collections
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import LocustProcesses, RunFiles, Stub, wait_for
from tests.ports import free_port

SMALL = ("--requests", "12", "--rounds", "2", "--output-tokens", "8")


def assert_each_once_per_round(run: RunFiles, stub: Stub, rounds: int = 2) -> None:
    facts, records = run.facts, run.records
    assert facts["complete"], facts["incomplete_reason"]
    planned = sum(scenario["requests"] for scenario in facts["scenarios"])
    assert len(records) == planned * rounds
    assert {record["status"] for record in records} == {"ok"}
    keys = collections.Counter((r["scenario"], r["round"], r["request_index"]) for r in records)
    assert set(keys.values()) == {1}
    sent = stub.times_sent(facts["nonce"])
    assert len(sent) == planned
    assert set(sent.values()) == {rounds}


def assert_barrier(run: RunFiles) -> None:
    """No request of a round began before the round before it had ended."""
    for scenario in run.facts["scenarios"]:
        ends: dict[int, float] = {}
        starts: dict[int, float] = {}
        for r in (r for r in run.records if r["scenario"] == scenario["name"]):
            starts[r["round"]] = min(starts.get(r["round"], 1e18), r["started_at_s"])
            ends[r["round"]] = max(ends.get(r["round"], 0), r["started_at_s"] + r["e2e_ms"] / 1000)
        for number in list(starts)[1:]:
            assert starts[number] >= ends[number - 1]


def headless(stub: Stub, *more: str, locustfile: str = "locustfiles/long_context_high_reuse.py") -> tuple[str, ...]:
    return ("-f", locustfile, "--headless", "-u", "5", "-r", "10", "--host", stub.url, *SMALL, *more)


@pytest.mark.analysed
def test_one_process(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*headless(stub))
    (run,) = locust.runs()
    assert code == 0, output
    assert_each_once_per_round(run, stub)
    assert_barrier(run)
    assert "TTFT" in output  # Locust's own statistics carry the row


def test_processes_and_all_scenarios(locust: LocustProcesses, stub: Stub) -> None:
    code, output = locust.run(*headless(stub, "--processes", "2", locustfile="locustfiles"))
    (run,) = locust.runs()
    assert code == 0, output
    assert len(run.facts["scenarios"]) == 5
    assert_each_once_per_round(run, stub)
    assert_barrier(run)
    assert len({record["worker"] for record in run.records}) == 2


@pytest.mark.analysed
def test_master_and_two_workers_share_unequal_users(locust: LocustProcesses, stub: Stub) -> None:
    port = str(free_port())
    workers = [locust.start("-f", "locustfiles/multi_turn_conversation.py", "--worker", "--master-port", port) for _ in range(2)]
    master = ("--master", "--master-bind-port", port, "--expect-workers", "2", "--expect-workers-max-wait", "60")
    code, output = locust.run(*headless(stub, *master, locustfile="locustfiles/multi_turn_conversation.py"))
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)
    assert run.facts["workers"] == 2
    assert {worker.wait(60) for worker in workers} == {0}
    for session in {record["session_id"] for record in run.records}:
        turns = [r for r in run.records if r["session_id"] == session and r["round"] == 1]
        assert len({r["worker"] for r in turns}) == 1  # a session stays where it is
        turns.sort(key=lambda r: r["turn"])
        for before, after in itertools.pairwise(turns):
            assert after["started_at_s"] >= before["started_at_s"] + before["e2e_ms"] / 1000


def test_any_scenario_without_a_class_of_its_own(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    text = Path("scenarios/cold_start.yaml").read_text().replace("name: cold_start", "name: mine")
    text = text.replace("requests: 30", "requests: 4").replace("tokens: 4000", "tokens: 200")
    (tmp_path / "mine.yaml").write_text(text + "api: completions\n")
    base = (
        "-f",
        "locustfiles/cold_start.py",
        "--headless",
        "-u",
        "2",
        "-r",
        "10",
        "--host",
        stub.url,
        "--rounds",
        "3",
        "--output-tokens",
        "8",
    )
    code, output = locust.run(*base, "--scenarios", str(tmp_path / "mine.yaml"))
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub, rounds=3)


@pytest.mark.parametrize("extra", [(), ("--processes", "2")], ids=["one process", "two workers"])
def test_interrupt_keeps_what_was_measured(locust: LocustProcesses, slow_stub: Stub, extra: tuple[str, ...]) -> None:
    process = locust.start(*headless(slow_stub, *extra))
    wait_for(lambda: locust.runs() and len(locust.runs()[0].records) >= 1, what="the first record")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    (run,) = locust.runs()
    assert process.returncode == 2, output
    facts = run.facts
    assert not facts["complete"]
    assert facts["incomplete_reason"].startswith("stopped in round 1")  # and not: every worker was lost
    statuses = collections.Counter(record["status"] for record in run.records)
    assert statuses["ok"] >= 1
    assert statuses["stopped"] >= 1  # what was in flight has its record too
    sent = slow_stub.times_sent(facts["nonce"])
    assert len(run.records) == sum(sent.values())
    assert "incomplete" in output


def swarm(port: str, **form: Any) -> dict[str, Any]:
    answer = requests.post(f"http://127.0.0.1:{port}/swarm", data={"user_count": 4, "spawn_rate": 10, **form}, timeout=10)
    return answer.json()


def test_web_ui_start_stop_start(locust: LocustProcesses, slow_stub: Stub) -> None:
    port = str(free_port())
    base = ("-f", "locustfiles/cold_start.py", "--web-host", "127.0.0.1", "--web-port", port, "--host", slow_stub.url)
    locust.start(*base, *SMALL)
    wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=1).ok, what="the web UI")
    assert swarm(port, host=slow_stub.url)["success"]
    wait_for(lambda: locust.runs() and locust.runs()[0].records, what="records of the first run")
    requests.post(f"http://127.0.0.1:{port}/stop", timeout=60)
    first = wait_for(lambda: locust.runs()[0].facts["ended_at"] and locust.runs()[0], what="the end of the first run")
    assert not first.facts["complete"]
    assert len(first.records) == sum(slow_stub.times_sent(first.facts["nonce"]).values())
    assert swarm(port, host=slow_stub.url, requests="3", rounds="2")["success"]
    second = wait_for(lambda: len(locust.runs()) == 2 and locust.runs()[1], what="the second run")
    wait_for(lambda: second.facts["ended_at"], what="the end of the second run")
    assert first.facts["nonce"] != second.facts["nonce"]
    assert_each_once_per_round(second, slow_stub)
    rows = requests.get(f"http://127.0.0.1:{port}/stats/requests", timeout=5).json()["stats"]
    by_row = {f"{row['method'] or ''} {row['name']}".strip(): row["num_requests"] for row in rows}
    assert by_row["TTFT cold_start r01"] == by_row["POST cold_start r01"] == 3
    assert by_row["Aggregated"] == 6  # the TTFT and TPOT rows are no requests


def test_an_option_file_and_a_listener_of_the_users_own(locust: LocustProcesses, stub: Stub, tmp_path: Path) -> None:
    """configs/smoke.conf runs as it is; a user's locustfile hears of each finished record."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from locust import events\n"
        "from locustfiles.cold_start import ColdStart\n"
        "@events.init.add_listener\n"
        "def listen(environment, **_):\n"
        "    @environment.events.record_finished.add_listener\n"
        "    def heard(record, **_):\n"
        f"        open({str(tmp_path / 'heard')!r}, 'a').write(f'{{record.round}} {{record.request_index}}\\n')\n"
    )
    code, output = locust.run("--config", "configs/smoke.conf", "-f", str(mine), "--host", stub.url)
    assert code == 0, output
    (run,) = locust.runs()
    assert_each_once_per_round(run, stub)
    heard = (tmp_path / "heard").read_text().splitlines()
    assert sorted(heard) == sorted(f"{r['round']} {r['request_index']}" for r in run.records)
    assert len(heard) == 16


def test_server_metrics_are_sampled_around_and_in_each_round(locust: LocustProcesses, slow_stub: Stub, tmp_path: Path) -> None:
    """The stub has no metrics page: each scrape says so, and names when it was made."""
    code, output = locust.run(*headless(slow_stub, "--metrics-interval", "0.2"), timeout_s=240)
    assert code == 0, output
    (run,) = locust.runs()
    rows = [json.loads(line) for line in (run.folder / "server_metrics.jsonl").read_text().splitlines()]
    counts = collections.Counter((row["round"], row["when"]) for row in rows)
    assert all(counts[number, when] == 1 for number in (1, 2) for when in ("before", "after"))
    assert all(counts[number, "during"] >= 3 for number in (1, 2))
    assert all("404" in row["error"] and not row["ok"] for row in rows)
