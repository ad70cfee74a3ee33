"""A target on the rate while all users were busy: one straggler misses the target of whole rounds and not this one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.contract.record import Record
from tests.analysis.synthetic import Truth, make_records, write_run

pytestmark = pytest.mark.slow  # each test analyses a whole run

TRUTH = Truth(sessions=12, turns=5, noise=0.05)
TARGETS = {"hit_throughput_gain_min": 0.1, "hit_busy_throughput_gain_min": 0.1}
USERS = 4


def closed_loop(records: list[Record]) -> list[Record]:
    """Four users take the requests of a round in turns; the last hit takes 30 s more."""
    found, clock = [], 1_700_000_000.0
    for number in (1, 2):
        free = [clock] * USERS
        mine = [record for record in records if record.round == number]
        for record in mine:
            last = number == 2 and record is mine[-1]
            e2e_ms = (record.e2e_ms or 0.0) + (30_000.0 if last else 0.0)
            user = free.index(min(free))
            found.append(dataclasses.replace(record, started_at_s=free[user], e2e_ms=e2e_ms))
            free[user] += e2e_ms / 1000 + 1e-4
        clock = max(free) + 1.0
    return found


def run_of(folder: Path, records: list[Record], **info: Any) -> dict[str, dict[str, Any]]:
    """The targets by name."""
    rounds = []
    for number in (1, 2):
        mine = [record for record in records if record.round == number]
        start = min(record.started_at_s or 0.0 for record in mine)
        wall_s = max((record.started_at_s or 0.0) + (record.e2e_ms or 0.0) / 1000 for record in mine) - start
        rounds.append({"scenario": TRUTH.scenario, "round": number, "planned_requests": len(mine), "records": len(mine),
                       "wall_s": wall_s, "started_at_s": start, "complete": True})  # fmt: skip
    folder = write_run(folder, records, TRUTH, users=USERS, rounds=rounds, targets=TARGETS, **info)
    return {row["target"]: row for row in analyse_folder(folder).stats["targets"]}


def test_one_straggler_fails_the_target_of_whole_rounds_alone(tmp_path: Path) -> None:
    """Of five requests of a session the first computes its prompt (0.55 s of TTFT instead of 0.07), decoding takes 0.78 s: 13 % more."""
    found = run_of(tmp_path, closed_loop(make_records(TRUTH)))
    whole, busy = found["hit_throughput_gain_min"], found["hit_busy_throughput_gain_min"]
    assert whole["verdict"] == "fail"
    assert "requests/s of whole rounds" in whole["text"]
    assert busy["verdict"] == "pass"
    assert busy["value"] == pytest.approx(0.13, abs=0.02)
    assert "requests/s while all users were busy" in busy["text"]


def test_a_round_too_short_for_a_busy_rate_is_not_judged(tmp_path: Path) -> None:
    truth = dataclasses.replace(TRUTH, sessions=2)
    found = run_of(tmp_path, closed_loop(make_records(truth)))
    assert found["hit_busy_throughput_gain_min"]["verdict"] == "not judged"
    assert "no rate while all users were busy" in found["hit_busy_throughput_gain_min"]["why"]
    assert found["hit_throughput_gain_min"]["value"] is not None


def test_an_open_loop_s_rate_is_that_of_its_arrivals(tmp_path: Path) -> None:
    records = closed_loop(make_records(TRUTH))
    found = run_of(tmp_path, records, arrival={"kind": "poisson", "request_rate_per_s": 4.0})
    assert {row["why"] for row in found.values()} == {"in an open loop the rate is that of the arrivals"}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_deployment_file_can_set_both(name: str) -> None:
    from locust_kvcache.contract.targets import TARGETS as known

    assert name in known
