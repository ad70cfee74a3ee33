"""The client's timing certificate, measured by the command from a folder that is no checkout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from locust_kvcache.certificate.command import certify, level, together, truth_server
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_certificate_command_measures_and_saves(tmp_path: Path) -> None:
    """A level so small that any machine passes it: the figures must be there, small, and of this client and the baseline."""
    output = tmp_path / "certificate.json"
    command = [sys.executable, "-m", "locust_kvcache", "certificate", "--streams", "4", "--repeats", "1", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "said").open("w") as said:  # a file: its server would hold a pipe open, should it outlive the command
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            code = process.wait(400)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    printed = (tmp_path / "said").read_text()
    assert code == 0, printed
    levels = json.loads(output.read_text())["levels"]
    ways = [(starts, reader) for starts in ("spread", "together") for reader in ("this client", "FastHttpUser readline")]
    assert [(one["starts"], one["reader"]) for one in levels] == ways
    assert all(one["chunks"] == 800 and one["lost_chunks"] == 0 for one in levels)
    assert all(-0.5 < one["ttft_error_p50_ms"] < 150 for one in levels)  # a sign or unit error would be far outside
    assert "| 4 | spread | this client |" in printed
    whole_run = next(one for one in levels if (one["starts"], one["reader"]) == ("together", "this client"))
    assert whole_run["streams_read"] == 8
    assert {"loop_lag_p99_ms", "client_limited", "cpu_us_per_chunk"} <= whole_run.keys()


@pytest.mark.slow
def test_several_processes_share_the_streams(tmp_path: Path) -> None:
    with truth_server(-1, 2) as url:
        figures = level("this client", url, 6, -1, "together", 2)
    assert figures["streams_read"] == 12
    assert figures["chunks"] == 1200
    assert figures["lost_chunks"] == 0


def test_figures_of_several_processes_are_sums_of_counts_and_the_worst_errors() -> None:
    one = {"chunks": 10.0, "chunks_per_s": 5.0, "ttft_error_p99_ms": 0.1, "loop_lag_p99_ms": 2.0, "cpu_us_per_chunk": 10.0}
    other = {"chunks": 20.0, "chunks_per_s": 7.0, "ttft_error_p99_ms": 0.4, "loop_lag_p99_ms": 1.0, "cpu_us_per_chunk": 20.0}
    assert together([one, other]) == {
        "chunks": 30.0, "chunks_per_s": 12.0, "ttft_error_p99_ms": 0.4, "loop_lag_p99_ms": 2.0, "cpu_us_per_chunk": 15.0,
    }  # fmt: skip


def test_a_certificate_is_of_one_worker_process() -> None:
    figures = {"ttft_error_p99_ms": 0.1, "lost_chunks": 0.0, "chunks_per_s": 4000.0}
    assert certify([(80, "together", "this client", figures)], 4)["certified_chunks_per_s"] == 1000.0
