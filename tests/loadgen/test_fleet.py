"""A run through a fleet of four emulated engines: the waterfall and the balance against the fleet's own truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

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


@pytest.mark.analysed
def test_through_a_balancer_no_counter_is_evidence(locust: LocustProcesses, tmp_path: Path) -> None:
    """Connections go to two engines in turn: the load's are kept alive, and a page is now one engine's and now the other's."""
    with (
        emulator("--profile", "cpu_tiny", "--time-scale", "0.02") as one,
        emulator("--profile", "cpu_tiny", "--time-scale", "0.02") as two,
    ):
        front = free_port()
        relay = [sys.executable, "tests/loadgen/tcp_relay.py", str(front), *(url.rsplit(":", 1)[1] for url in (one, two))]
        with subprocess.Popen(relay, cwd=ROOT) as process:
            try:
                address = f"http://127.0.0.1:{front}"
                wait_for(lambda: requests.get(f"{address}/health", timeout=1).ok, what=address)
                load = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "2", "-r", "2", "--requests", "8", "--rounds", "2")
                code, output = locust.run(*load, "--prompt-tokens", "300", "--warm-up", "off", "--host", address)
            finally:
                process.kill()
    assert code == 0, output
    (run,) = locust.runs()
    told = json.loads((run.folder / "run.json").read_text())
    assert told["deployment"]["metrics"] == []
    assert [text for text in told["warnings"] if f"several servers answer at {address}/metrics" in text]
    stats = json.loads((run.folder / "stats.json").read_text())
    assert {row["evidence"] for row in stats["verdicts"]} == {"cached tokens reported with the answers"}
