"""The web UI by a real browser's clicks: a bad form, start, stop, start, the live page, the report; skipped where no Chromium is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import requests

from tests.conftest import wait_for
from tests.monitoring.chrome import BINARY, Tab, chromium
from tests.monitoring.servers import emulator, runs, web_ui

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="no chromium on this machine: the browser test needs one"),
]
PICTURES = os.environ.get("KV_PICTURES")  # a folder: keep the pictures there
REQUESTS = "30" if PICTURES else "8"  # a round of the whole run; from 20 on the pictures show P90


def keep(picture: Path) -> None:
    if PICTURES:
        shutil.copy(picture, PICTURES)


def start(tab: Tab, **form: str) -> None:
    tab.click("Custom parameters")
    for name, value in form.items():
        tab.fill(name, value)
    tab.click("Start", within="button")


def test_start_stop_start_by_clicking(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with (
        emulator("--time-scale", "0.2") as server,
        web_ui(results, "-f", "locustfiles", "--host", server) as page,
        chromium(tmp_path / "profile") as tab,
    ):
        tab.open(page)
        tab.fill("userCount", "4")
        tab.fill("spawnRate", "4")
        start(tab, scenarios="cold_strat")
        tab.wait_for_text("scenario 'cold_strat' is unknown; available: agent_coding")
        keep(tab.picture(tmp_path / "form.png", 1300))
        assert not runs(results)

        tab.fill("scenarios", "multi_turn_conversation")
        tab.fill("requests", "40")
        tab.click("Start", within="button")
        tab.click("KV cache", within="[role=tab]")
        tab.wait_for_text("multi_turn_conversation")
        first = wait_for(lambda: runs(results) and runs(results)[0], what="the first run")
        wait_for(lambda: "\t1\t40\t0\t0\t" not in tab.text, what="a first answer in the table")
        tab.click("Stop", within="button")
        wait_for(lambda: "stopped in round" in str(first.facts["incomplete_reason"]), what="the stop")

        tab.click("New", within="button,a")
        start(tab, scenarios="multi_turn_conversation long_context_high_reuse", requests=REQUESTS)
        second = wait_for(lambda: len(runs(results)) == 2 and runs(results)[1])
        tab.click("KV cache: live chart and report", within="a")
        tab.wait_for_text("long_context_high_reuse")
        wait_for(lambda: tab.js("document.querySelectorAll('polyline').length") >= 1, what="a line in the chart")
        tab.wait_for_text("requests ended")
        keep(tab.picture(tmp_path / "kvcache-running.png", 820))
        tab.wait_for_text("Open the report", 90)
        assert second.facts["complete"]
        assert second.facts["users"] == 4
        assert tab.js("document.querySelectorAll('polyline').length") == 4  # two scenarios of two rounds
        assert tab.js("document.querySelectorAll('tbody tr').length") == 4
        keep(tab.picture(tmp_path / "kvcache-live.png", 820))
        tab.click("Open the report", within="a")
        tab.wait_for_text("Verdict")
        wait_for(
            lambda: requests.get(f"{page}/stats/requests", timeout=2).json()["state"] == "stopped", what="the end of the test"
        )
        tab.open(f"{page}/?tab=kv-cache")
        tab.wait_for_text("report: /kvcache/report/report.html")
        keep(tab.picture(tmp_path / "web-ui.png", 700))
        assert not [text for text in tab.messages if "exceptionThrown" in text or "Content Security" in text]
