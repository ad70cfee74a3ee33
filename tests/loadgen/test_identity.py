"""What requests say of themselves, in real runs: salts, priorities, names and echoed headers, against the emulator's truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.conftest import LocustProcesses, RunFiles
from tests.monitoring.servers import emulator
from tests.ports import free_port

BLOCK = 16
SCENARIO: dict[str, Any] = {
    "name": "named", "summary": "Two users ask about three documents.", "requests": 12, "rounds": 2,
    "prefix": {"text": "document", "tokens": 400, "shared_by": 4}, "turns": {"text": "question", "tokens": 20},
    "output": {"tokens": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def fleet() -> Iterator[str]:
    ports = ",".join(str(free_port()) for _ in range(3))
    options = (
        "--role",
        "fleet",
        "--engines",
        "3",
        "--engine-ports",
        ports,
        "--routing",
        "token",
        "--scheduling-policy",
        "priority",
    )
    with emulator(*options, "--time-scale", "0.01") as address:
        yield address


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with emulator("--time-scale", "0.01") as address:
        yield address


def play(locust: LocustProcesses, folder: Path, address: str, *more: str, **changes: Any) -> tuple[int, str, RunFiles | None]:
    file = folder / "named.yaml"
    file.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    load = ("-f", "locustfiles", "--scenarios", str(file), "--headless", "-u", "1", "-r", "1", "--warm-up", "off", "--no-report")
    code, output = locust.run(*load, "--host", address, *more)
    return code, output, locust.runs()[-1] if code == 0 else None


def sums(run: RunFiles, name: str) -> list[int]:
    return [sum(record[name] for record in run.records if record["round"] == number) for number in (1, 2)]


@pytest.mark.parametrize(("salt", "different"), [("all", 3), ("{user}", 6), ("{session}", 12)])
def test_planned_cached_tokens_are_the_engines_under_any_salt(
    locust: LocustProcesses, tmp_path: Path, server: str, salt: str, different: int
) -> None:
    code, output, run = play(locust, tmp_path, server, identity={"cache_salt": salt, "users": 2})
    assert code == 0, output
    assert run is not None
    planned, reported = sums(run, "planned_cached_tokens"), sums(run, "reported_cached_tokens")
    assert planned == pytest.approx(reported, abs=BLOCK * 12)  # within a block a request
    assert planned[0] == pytest.approx((12 - different) * 400, abs=BLOCK * 12)
    assert len({record["cache_salt"] for record in run.records}) == {"all": 1, "{user}": 2, "{session}": 12}[salt]
    assert {record["cache_salt"] for record in run.records if record["round"] == 1} == {
        record["cache_salt"] for record in run.records if record["round"] == 2
    }


def test_a_salt_of_the_command_line(locust: LocustProcesses, tmp_path: Path, server: str) -> None:
    code, output, run = play(locust, tmp_path, server, "--cache-salt", "{session}", "--rounds", "1")
    assert code == 0, output
    assert run is not None
    assert {record["reported_cached_tokens"] for record in run.records} == {0}
    assert {record["planned_cached_tokens"] for record in run.records} == {0}


def test_a_token_of_the_first_response_keeps_a_session_on_its_engine(locust: LocustProcesses, tmp_path: Path, fleet: str) -> None:
    turns = {"text": "question", "tokens": 20, "count": 4}
    identity = {"headers": {"x-user-id": "{user}"}, "echo_headers": ["x-session-token"], "priority": 3, "users": 2}
    code, output, run = play(locust, tmp_path, fleet, "--rounds", "1", turns=turns, identity=identity)
    assert code == 0, output
    assert run is not None
    by_session: dict[int, list[dict[str, Any]]] = {}
    for record in run.records:
        by_session.setdefault(record["session_id"], []).append(record)
    assert {len({record["engine"] for record in session}) for session in by_session.values()} == {1}
    assert len({record["engine"] for record in run.records}) == 3
    assert {record["priority"] for record in run.records} == {3}
    nonce = run.facts["nonce"]
    assert {record["sent_headers"].split("; ")[0] for record in run.records} == {f"x-user-id: {nonce}-user-{k}" for k in (0, 1)}
    assert all(("x-session-token: sha256:" in record["sent_headers"]) == (record["turn"] > 1) for record in run.records)
    code, output, run = play(locust, tmp_path, fleet, "--rounds", "1", turns=turns)
    assert run is not None
    assert len({record["engine"] for record in run.records if record["session_id"] == 0}) > 1  # in turn, without the token


def test_a_refused_priority_is_named_with_the_way_out(locust: LocustProcesses, tmp_path: Path, server: str) -> None:
    for more, changes in (((), {"identity": {"priority": 2}}), (("--extra-body", '{"priority": 2}'), {})):
        code, output, _ = play(locust, tmp_path, server, *more, **changes)
        assert code == 3
        line = next(line for line in output.splitlines() if "Priority scheduling is not enabled" in line)
        assert "start vLLM with --scheduling-policy priority, or leave `priority` out" in line


def test_the_emulator_refuses_what_vllm_refuses() -> None:
    with emulator("--scheduling-policy", "priority", "--time-scale", "0.01") as address:
        body = {"prompt": "a word", "max_tokens": 2, "priority": "first"}
        assert requests.post(f"{address}/v1/completions", json=body, timeout=10).status_code == 400
        assert requests.post(f"{address}/v1/completions", json={**body, "priority": -1}, timeout=10).status_code == 200
        assert (
            requests.post(f"{address}/v1/completions", json={**body, "priority": 0, "cache_salt": ""}, timeout=10).status_code
            == 400
        )
