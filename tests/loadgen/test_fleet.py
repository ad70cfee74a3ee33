"""A run through a fleet of four emulated engines: the waterfall and the balance against the fleet's own truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from locust_kvcache.analysis.tables.detail_tables import cache_table
from tests.conftest import ROOT, LocustProcesses, wait_for
from tests.monitoring.servers import emulator
from tests.ports import free_port

ENGINES, REQUESTS = 4, 24
STEPS = ("reusable", "held", "captured", "delivered")


def truth(address: str, count: int) -> list[dict[str, Any]]:
    """The last `count` requests in order of arrival."""
    lines = [json.loads(line) for line in requests.get(f"{address}/truth?last={10 * count}", timeout=10).text.splitlines()]
    found = [line for line in lines if "reuse" in line]
    return sorted(found, key=lambda line: line["arrived_ns"])[-count:]


@pytest.mark.analysed
@pytest.mark.parametrize("routing", ["round_robin", "prefix"])
def test_the_waterfall_is_the_fleets_truth(locust: LocustProcesses, tmp_path: Path, routing: str) -> None:
    ports = [free_port() for _ in range(ENGINES)]
    listed = ",".join(map(str, ports))
    fleet = ("--role", "fleet", "--engines", str(ENGINES), "--engine-ports", listed, "--routing", routing, "--time-scale", "0.02")
    file = tmp_path / "fleet.yaml"
    with emulator(*fleet) as address:
        engines = [{"name": f"engine-{n}", "metrics": f"http://127.0.0.1:{port}/metrics"} for n, port in enumerate(ports, 1)]
        file.write_text(yaml.safe_dump({"name": "fleet", "kind": "non_disagg", "endpoint": address, "engines": engines}))
        load = ("--headless", "-u", "1", "-r", "1", "--requests", str(REQUESTS), "--rounds", "2", "--prompt-tokens", "600")
        code, output = locust.run("-f", "locustfiles/long_context_high_reuse.py", *load, "--deployment", str(file))
        assert code == 0, output
        told = truth(address, 2 * REQUESTS)
    (run,) = locust.runs()
    assert [record["engine"] for record in sorted(run.records, key=lambda r: r["started_at_s"])] == [
        line["engine"] for line in told
    ]
    stats = json.loads((run.folder / "stats.json").read_text())
    for row, lines in zip(stats["waterfall"], (told[:REQUESTS], told[REQUESTS:]), strict=True):
        for step in STEPS:
            true = sum(line["reuse"][step] for line in lines)
            assert row[step] == pytest.approx(true, abs=16 * REQUESTS), (routing, row["round"], step)
        assert row["beyond_tokens"] <= 16 * REQUESTS
    by_engine = {row["engine"]: row["requests"] for row in stats["engines"] if row["round"] == 1}
    assert sum(by_engine.values()) == REQUESTS
    assert {name: by_engine[name] for name in by_engine if by_engine[name]} == {
        name: sum(line["engine"] == name for line in told[:REQUESTS]) for name in {line["engine"] for line in told[:REQUESTS]}
    }


USERS = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "2")
LOAD = (*USERS, "--requests", "8", "--prompt-tokens", "300", "--warm-up", "off")


@pytest.fixture
def balanced() -> Iterator[tuple[str, list[str]]]:
    """(a balancer's address, those of its two engines): connections go to them in turn."""
    tiny = ("--profile", "cpu_tiny", "--time-scale", "0.02")
    with emulator(*tiny) as one, emulator(*tiny) as two:
        front = free_port()
        relay = [sys.executable, "tests/loadgen/tcp_relay.py", str(front), *(url.rsplit(":", 1)[1] for url in (one, two))]
        with subprocess.Popen(relay, cwd=ROOT) as process:
            address = f"http://127.0.0.1:{front}"
            try:
                wait_for(lambda: requests.get(f"{address}/health", timeout=1).ok, what=address)
                yield address, [one, two]
            finally:
                process.kill()


@pytest.mark.analysed
def test_through_a_balancer_no_counter_is_evidence(locust: LocustProcesses, balanced: tuple[str, list[str]]) -> None:
    """The load's connections are kept alive, and a page is now one engine's and now the other's."""
    address, _ = balanced
    code, output = locust.run(*LOAD, "--rounds", "2", "--host", address)
    assert code == 0, output
    (run,) = locust.runs()
    told = json.loads((run.folder / "run.json").read_text())
    assert told["deployment"]["metrics"] == []
    assert [text for text in told["warnings"] if f"several servers answer at {address}/metrics" in text]
    stats = json.loads((run.folder / "stats.json").read_text())
    assert {row["evidence"] for row in stats["verdicts"]} == {"cached tokens reported with the answers"}
    assert "several_servers" in [problem["code"] for problem in stats["problems"]]
    (table,) = [cache_table(stats, "cold_start")]
    assert "Several engines share the requests, and no answer names its engine" in " ".join(table.notes)


def test_a_reset_through_a_balancer_is_no_proof(locust: LocustProcesses, tmp_path: Path, balanced: tuple[str, list[str]]) -> None:
    """It reaches one engine, answers success, and a canary that is computed again may have come to the other."""
    address, pages = balanced
    engines = [{"name": f"e{number}", "metrics": f"{url}/metrics"} for number, url in enumerate(pages, 1)]
    file, caches = tmp_path / "reset.yaml", [{"tier": "gpu", "kind": "vllm_reset", "target": address}]
    file.write_text(yaml.safe_dump({"kind": "non_disagg", "endpoint": address, "engines": engines, "caches": caches}))
    code, output = locust.run(*LOAD, "--rounds", "1", "--empty-caches", "--no-report", "--deployment", str(file))
    assert code == 0, output
    (run,) = locust.runs()
    told = json.loads((run.folder / "run.json").read_text())
    assert len(told["deployment"]["metrics"]) == 2
    assert [text for text in told["warnings"] if f"several servers answer at {address}: " in text and "a reset there" in text]
    (entry,) = told["rounds"]
    assert entry["cache_actions"][0]["ok"]
    assert entry["canary"] is None
    code, output = locust.run(*LOAD, "--preflight-only", "--deployment", str(file))
    assert "a reset there reaches one of them" in output
    assert "can be emptied" not in output
