"""Strangers at Locust's page: other sites, fields that no form has, and an address that would be sent the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import LocustProcesses, Stub, start_stub, wait_for
from tests.ports import free_port


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Stub]:
    server = start_stub(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


def start(url: str, headers: dict[str, str] | None = None, **form: Any) -> requests.Response:
    return requests.post(f"{url}/swarm", data={"user_count": 1, "spawn_rate": 1, **form}, headers=headers, timeout=20)


def test_strangers_are_turned_away_and_get_no_key(locust: LocustProcesses, stub: Stub, elsewhere: Stub, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    port = url.rsplit(":", 1)[1]
    page = ("-f", "locustfiles/cold_start.py", "--web-port", port, "--host", stub.url)
    process = locust.start(*page, "--requests", "2", "--rounds", "1", OPENAI_API_KEY="k-123")
    wait_for(lambda: requests.get(f"{url}/", timeout=1).ok, what="the web UI")

    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert start(url, headers).status_code == 403
        assert requests.get(f"{url}/stop", headers=headers, timeout=5).status_code == 403
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: hunter2\n")
    files = {"output_dir": str(tmp_path / "own"), "deployment": str(secret), "scenarios": str(secret), "web_login": "false"}
    for field, value in files.items():
        answer = start(url, **{field: value})
        assert answer.status_code == 400
        assert f"give --{field.replace('_', '-')} on the command line" in answer.json()["message"]
        assert "hunter2" not in answer.text
    assert not locust.runs()

    assert start(url, {"Origin": url}, host=elsewhere.url).json()["success"]
    wait_for(lambda: locust.runs() and locust.runs()[0].facts["complete"], what="the run elsewhere")
    wait_for(lambda: requests.get(f"{url}/stats/requests", timeout=5).json()["state"] in ("stopped", "ready"), what="the stop")
    assert start(url, {"Origin": url}, host=stub.url).json()["success"]
    wait_for(lambda: len(locust.runs()) > 1 and locust.runs()[1].facts["complete"], what="the run of the command line's host")
    assert authorizations(elsewhere) == {None}
    assert authorizations(stub) == {"Bearer k-123"}
    process.terminate()


def authorizations(server: Stub) -> set[str | None]:
    return {json.loads(line).get("authorization") for line in server.log.read_text().splitlines()}
