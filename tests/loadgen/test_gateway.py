"""A server behind a gateway: its path, query, headers, body field and key reach it everywhere, and no file holds the key."""

from __future__ import annotations

import json
from pathlib import Path

import requests

from tests.conftest import LocustProcesses, wait_for
from tests.gateway_server import KEY
from tests.ports import free_port
from tests.warm.servers import start_server

DEPLOYMENT = """
kind: other
endpoint: http://127.0.0.1:{port}/gw
api_path: /openai
query: v=1
headers: {{x-api-key: "${{GATEWAY_KEY}}", x-session-id: "{{session}}"}}
extra_body: {{priority: 7}}
metrics: [{{role: server, url: "http://127.0.0.1:{port}/gw/metrics"}}]
"""


def test_a_run_through_a_gateway(locust: LocustProcesses, tmp_path: Path) -> None:
    port, log, file = free_port(), tmp_path / "log", tmp_path / "gateway.yaml"
    server = start_server("tests.gateway_server", str(port), str(log))
    try:
        wait_for(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=1).status_code == 401, what="the gateway")
        (tmp_path / "log.gateway").unlink()
        file.write_text(DEPLOYMENT.format(port=port))
        load = (
            "-f",
            "locustfiles/multi_turn_conversation.py",
            "--headless",
            "-u",
            "2",
            "-r",
            "10",
            "--requests",
            "6",
            "--rounds",
            "1",
        )
        more = ("--deployment", str(file), "--header", "x-tenant: a")
        code, output = locust.run(*load, *more, GATEWAY_KEY=KEY)
        assert code == 0, output
        asked = [json.loads(line) for line in (tmp_path / "log.gateway").read_text().splitlines()]
        missing, output = locust.run(*load, *more)
    finally:
        server.kill()
        server.wait()
    (run,) = locust.runs()
    assert all(entry["key"] and entry["tenant"] == "a" for entry in asked)
    sessions = {entry["session"] for entry in asked if entry["session"].startswith(run.facts["nonce"])}
    assert len(sessions) == len({record["session_id"] for record in run.records})
    assert {row["ok"] for row in run.metrics} == {True}
    for written in run.folder.rglob("*"):
        assert not written.is_file() or KEY.encode() not in written.read_bytes(), written
    assert "${GATEWAY_KEY}" in (run.folder / "run.json").read_text()
    assert missing == 3
    assert "GATEWAY_KEY is not set: export GATEWAY_KEY=..." in output
