"""The process that waits for a run to end: the answer comes before the report, and one that is lost is replaced."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from pathlib import Path

import pytest

from locust_kvcache.analysis.commands import after_run
from locust_kvcache.contract.analysis_job import READY, AnalysisJob
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.loadgen.run import analysis_process
from locust_kvcache.loadgen.run.analysis_process import Analyses, AnalysisProcess
from tests.analysis.synthetic import Truth, synthetic_run
from tests.warm.start import Warm

pytestmark = pytest.mark.analysed


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, warm: Warm | None) -> None:
    if warm is not None:
        monkeypatch.setattr(sys, "executable", str(warm.python))


def job(folder: Path, report: bool = True, gate: bool = False) -> AnalysisJob:
    return AnalysisJob(str(folder), report, png=False, gate=gate)


def test_the_answer_comes_before_the_report(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", Truth())
    process = AnalysisProcess()
    assert process.wait_until_ready()
    process.ask(job(folder))
    code, text = process.answer()
    assert code == 0
    assert "complete, 60 of 60 records" in text
    assert (folder / "stats.json").is_file()
    assert "Report: " not in text
    code, text = process.files()
    assert code == 0
    assert "report.html" in text
    assert (folder / "report" / "report.html").is_file()


def test_a_gate_that_fails_has_its_report_all_the_same(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", Truth(), targets={"hit_ttft_reduction_min": 0.999})
    analyses = Analyses()
    analyses.ask(job(folder, report=False, gate=True))
    code, text = analyses.answer()
    assert (code, text.splitlines()[-1][:12]) == (Exit.TARGET_MISSED, "exit code 1:")
    assert "stats.json" in analyses.files()[1]


def test_a_machine_without_the_libraries_of_the_analysis_is_told_where_its_run_lies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A load generator alone has no scipy: the run is over and kept, so one line names library, folder and the way out."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setattr(sys, "argv", ["after_run"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(job(tmp_path / "run").to_line()))
    was = signal.getsignal(signal.SIGINT)
    try:
        assert after_run.main() == Exit.BAD_INPUT
    finally:
        signal.signal(signal.SIGINT, was)
        gc.unfreeze()
    shown = capsys.readouterr()
    assert shown.out.startswith(READY)
    assert f"needs the library scipy, which is not installed here; everything measured is in {tmp_path / 'run'}" in shown.err
    assert "Traceback" not in shown.err


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    process = AnalysisProcess()
    process.ask(job(tmp_path))
    code, text = process.answer()
    assert code == Exit.BAD_INPUT
    assert text.startswith("error: ")
    assert process.files() == (0, "")


def test_one_that_was_killed_while_it_waited_is_replaced(tmp_path: Path) -> None:
    folder = synthetic_run(tmp_path / "run", Truth())
    analyses = Analyses()
    analyses.prepare(draws=True)
    waiting = analyses._waiting
    assert waiting is not None
    os.kill(waiting._process.pid, signal.SIGKILL)
    waiting._process.wait()
    analyses.ask(job(folder, report=False))
    assert analyses.answer()[0] == 0


def test_a_crash_says_what_python_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(analysis_process, "MODULE", "locust_kvcache.nothing")
    analyses = Analyses()
    analyses.ask(job(tmp_path))
    code, text = analyses.answer()
    assert code == 1
    assert "locust_kvcache.nothing" in text
    assert analyses.files() == (0, "")


def test_without_a_job_it_ends(tmp_path: Path) -> None:
    process = AnalysisProcess()
    process.close()
    assert process._process.wait(60) == 0
