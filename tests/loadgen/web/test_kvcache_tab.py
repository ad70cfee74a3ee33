"""The web UI's tab by its own routes: the page knows the tab, its rows are the run's, bad input is refused with its reason."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
import requests

from tests.conftest import LocustProcesses, Stub, wait_for
from tests.loadgen.master.test_coordinator import swarm
from tests.ports import free_port


def rows(page: str) -> list[dict[str, Any]]:
    (table,) = requests.get(f"{page}/stats/requests", timeout=5).json()["extended_stats"]
    assert table["key"] == "kv-cache"
    return table["data"]


def test_the_tab_follows_a_run(locust: LocustProcesses, stub: Stub) -> None:
    port = str(free_port())
    page = f"http://127.0.0.1:{port}"
    locust.start(
        "-f",
        "locustfiles/cold_start.py",
        "--web-host",
        "127.0.0.1",
        "--web-port",
        port,
        "--requests",
        "25",
        "--output-tokens",
        "6",
    )
    html = wait_for(lambda: requests.get(f"{page}/", timeout=1).text, what="the web UI")
    assert '"title": "KV cache"' in html
    assert '"extra_options": {}' not in html
    for option in ("deployment", "scenarios", "rounds"):
        assert f'"{option}": {{' in html  # in Locust's start form
    assert '"arrival": {' not in html  # that stands in a form of ours
    form = requests.get(f"{page}/kvcache/form", timeout=5).json()
    shown = {field["name"]: field for group in form["groups"] for field in group["fields"]}
    assert shown["arrival"]["choices"] == ["closed", "constant", "poisson", "gamma"]
    assert "cold_start" in shown["scenarios"]["known"]
    assert "pd_disagg" in shown["deployment"]["known"]
    assert shown["requests"]["value"] == "25"
    assert {"output_dir", "gate"} & set(shown) == set()
    planned = requests.post(
        f"{page}/kvcache/dry-run", data={"user_count": "4", "scenarios": "cold_start", "requests": "7"}, timeout=20
    )
    assert planned.json()["text"].startswith("Dry run: nothing is sent.")
    wrong = requests.post(f"{page}/kvcache/dry-run", data={"scenarios": "cold_strat"}, timeout=20).json()["text"]
    assert wrong.startswith("error: scenario 'cold_strat' is unknown")
    assert (
        "give --output-dir on the command line"
        in requests.post(f"{page}/kvcache/dry-run", data={"output_dir": "/"}, timeout=20).json()["text"]
    )
    assert requests.get(f"{page}/kvcache/start", timeout=5).status_code == 200
    assert '"output_dir": {' not in html
    assert '<a id="kvcache-link" href="/kvcache"' in html
    assert requests.get(f"{page}/kvcache/data", timeout=5).json()["state"] == "idle"
    assert rows(page) == []
    for wrong, said in (
        ({"scenarios": "cold_strat"}, "scenario 'cold_strat' is unknown; available: agent_coding"),
        ({"arrival": "poisson"}, "--arrival poisson needs --request-rate"),
        ({"deployment": "configs/none.yaml"}, "give --deployment on the command line"),
    ):
        answer = swarm(port, host=stub.url, **wrong)
        assert not answer["success"]
        assert said in answer["message"]
    assert not locust.runs()
    assert swarm(port, host=stub.url, scenarios="", arrival="closed", deployment="")["success"]
    run = wait_for(lambda: locust.runs() and locust.runs()[0].facts["complete"] and locust.runs()[0], what="the run's end")
    cold, hit = rows(page)
    assert [(row["scenario"], row["round"], row["planned"], row["done"], row["failed"]) for row in (cold, hit)] == [
        ("cold_start", 1, 25, 25, 0),
        ("cold_start", 2, 25, 25, 0),
    ]
    median_ms = statistics.median(r["ttft_ms"] for r in run.records if r["round"] == 1)
    assert cold["ttft_p50_ms"] == pytest.approx(median_ms, rel=0.012, abs=0.1)
    assert cold["ttft_p99_ms"] == "-"  # 25 requests do not carry it
    data = requests.get(f"{page}/kvcache/data", timeout=5).json()
    assert (data["state"], data["run"], data["report"], data["reason"]) == ("done", run.folder.name, None, None)
    assert [(row["round"], row["done"]) for row in data["rows"]] == [(1, 25), (2, 25)]
    assert {line["round"] for line in data["lines"]} == {1, 2}
    mine = requests.get(f"{page}/kvcache", timeout=5)
    assert "default-src 'none'" in mine.headers["Content-Security-Policy"]
    assert "innerHTML" not in mine.text  # what servers say becomes text, never markup
    assert requests.get(f"{page}/kvcache/report/..%2frun.json", timeout=5).status_code == 404
    assert requests.get(f"{page}/kvcache/report/report.html", timeout=5).status_code == 404  # --no-report


def test_users_are_gone_after_a_stop_with_open_streams(locust: LocustProcesses, slow_stub: Stub) -> None:
    port = str(free_port())
    page = f"http://127.0.0.1:{port}"
    locust.start(
        "-f", "locustfiles/cold_start.py", "--host", slow_stub.url, "--requests", "200", "--output-tokens", "12", "--web-host", "127.0.0.1",
        "--web-port", port,
    )  # fmt: skip
    wait_for(lambda: requests.get(f"{page}/", timeout=1).ok, what="the web UI")

    def users() -> int:
        return int(requests.get(f"{page}/stats/requests", timeout=5).json()["user_count"])

    for _ in range(2):
        assert swarm(port, host=slow_stub.url, scenarios="", arrival="closed", deployment="")["success"]
        wait_for(lambda: requests.get(f"{page}/kvcache/data", timeout=5).json()["lines"], what="a first answer")
        assert users() == 4
        assert requests.post(f"{page}/stop", timeout=60).json()["success"]
        wait_for(lambda: users() == 0, 30, "the last user's end")


def test_before_the_login_nothing_is_said(locust: LocustProcesses, stub: Stub) -> None:
    port = str(free_port())
    page = f"http://127.0.0.1:{port}/load"
    locust.start(
        "-f", "locustfiles/cold_start.py", "--host", stub.url, "--requests", "4", "--output-tokens", "4", "--web-host", "127.0.0.1",
        "--web-port", port, "--web-base-path", "/load", "--web-login", KV_WEB_PASSWORD="opensesame",
    )  # fmt: skip
    wait_for(lambda: requests.get(f"{page}/login", timeout=1).ok, what="the login page")
    bad_form = {"user_count": 2, "spawn_rate": 2, "deployment": "configs/none.yaml"}
    for answer in (
        requests.post(f"{page}/swarm", data=bad_form, timeout=5),
        requests.get(f"{page}/kvcache/report/report.html", timeout=5),
        requests.get(f"{page}/stats/requests", timeout=5),
        requests.get(f"{page}/kvcache", timeout=5),
        requests.get(f"{page}/kvcache/data", timeout=5),
    ):
        assert answer.url.startswith(f"{page}/login")
        assert "names a file" not in answer.text
    person = requests.Session()
    wrong = person.post(f"{page}/login_submit", data={"username": "locust", "password": "sesame"}, timeout=5)
    assert "wrong user name or password" in wrong.text
    assert person.get(f"{page}/stats/requests", timeout=5).url.startswith(f"{page}/login")
    entered = person.post(f"{page}/login_submit", data={"username": "locust", "password": "opensesame"}, timeout=5)
    assert "KV cache" in entered.text
    assert "opensesame" not in entered.text
    assert "names a file" in person.post(f"{page}/swarm", data=bad_form, timeout=5).json()["message"]
    good_form = {**bad_form, "deployment": "", "host": stub.url, "scenarios": "", "arrival": "closed"}
    assert person.post(f"{page}/swarm", data=good_form, timeout=5).json()["success"]
    run = wait_for(lambda: locust.runs() and locust.runs()[0].facts["complete"] and locust.runs()[0], what="the run's end")
    (run.folder / "report").mkdir()
    (run.folder / "report" / "report.html").write_text("the report")
    assert person.get(f"{page}/kvcache/report/report.html", timeout=5).text == "the report"
    assert 'fetch("/load/kvcache/data"' in person.get(f"{page}/kvcache", timeout=5).text
    assert person.get(f"{page}/kvcache/data", timeout=5).json()["report"] == "/load/kvcache/report/report.html"
    table = person.get(f"{page}/stats/requests", timeout=5).json()["extended_stats"][0]["data"]
    assert table[-1]["note"].endswith("report: /load/kvcache/report/report.html")
