"""A run that an alert ends: what was measured stays, run.json says which rule, and the exit code is its own."""

from __future__ import annotations

import pytest

from tests.conftest import LocustProcesses, Stub


@pytest.mark.analysed
def test_an_alert_ends_the_run(locust: LocustProcesses, stub: Stub) -> None:
    load = ("-f", "locustfiles/cold_start.py", "--headless", "-u", "4", "-r", "100", "--warm-up", "off", "--processes", "2")
    rules = ("--abort-if", "error_rate>5%/2s", "--abort-if", "ttft_mean_ms>0.5/2s")
    code, output = locust.run(*load, "--host", stub.url, "--prompt-tokens", "200", "--round-time", "10m", *rules, "-s", "10")
    assert code == 8, output
    assert "is incomplete: --abort-if ttft_mean_ms>0.5/2s: ttft_mean_ms was" in output
    (run,) = locust.runs()
    assert run.facts["cause"] == "alert"
    assert run.facts["alert"]["rule"] == "ttft_mean_ms>0.5/2s"
    assert run.facts["alert"]["value"] > 0.5
    assert run.facts["alert"]["round"] == 1
    assert len(run.records) >= 10
    assert {r["status"] for r in run.records} == {"ok"}  # open requests had their time
    assert (run.folder / "stats.json").is_file(), output
