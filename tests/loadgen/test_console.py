"""What the console shows while a load test goes on."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import select
import subprocess
from pathlib import Path

import pytest
from locust import User
from locust.env import Environment

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.finding import Finding
from locust_kvcache.contract.language import CHINESE, ENGLISH, use_language
from locust_kvcache.loadgen import console, quiet
from locust_kvcache.loadgen.console import LoadConsole, Progress
from locust_kvcache.loadgen.server import deployment_check
from locust_kvcache.loadgen.worker import outage
from tests.conftest import LOCUST, ROOT, LocustProcesses, Stub

LOAD = (
    "--headless",
    "-f",
    "locustfiles/cold_start.py",
    "-u",
    "2",
    "-r",
    "2",
    "--requests",
    "4",
    "--rounds",
    "2",
    "--output-tokens",
    "8",
)
LOG_LINE = re.compile(r"^\[\d{4}-\d\d-\d\d .*/INFO/", re.MULTILINE)


class Foreign(User):
    abstract = True


class Ours(User):
    abstract = True
    drives_plan = True


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_has_bar_counts_failures_ttft_and_the_time_left() -> None:
    line = Progress("cold_start, round 1 of 2", 60, 15, 2, 5.0, 23.24).line()
    assert line == "cold_start, round 1 of 2 [#####---------------] 15/60, 2 failed, TTFT 23.2 ms, 15.0 s left"
    assert "time left unknown" in Progress("s, round 1", 60, 0, 0, 5.0).line()
    assert "TTFT" not in Progress("s, round 1", 60, 0, 0, 5.0).line()
    assert "TTFT 21,246 ms" in Progress("s, round 1", 60, 1, 0, 5.0, 21_246.4).line()


def test_a_line_without_a_sign_of_the_server_estimates_nothing() -> None:
    line = Progress("cold_start, round 1 of 2", 60, 15, 2, 5.0, 23.24).silent(12.3, away=True).line()
    assert line == "cold_start, round 1 of 2 [#####---------------] 15/60, 2 failed, server away for 12.3 s, no estimate"
    line = Progress("cold_start, round 1 of 2", 60, 15, 2, 5.0, 23.24).silent(150.0, away=False).line()
    assert line.endswith("15/60, 2 failed, none ended for 2.5 min, no estimate")
    timed = Progress("cold_start, round 1 of 2", 0, 15, 2, 5.0, 23.24, round_s=60.0).silent(3.0, away=True).line()
    assert timed.endswith("server away for 3.0 s, 55.0 s left")  # the clock goes on


def test_progress_in_chinese() -> None:
    use_language(CHINESE)
    try:
        line = Progress("cold_start, round 1 of 2", 60, 15, 2, 5.0, 23.24).line()
        away = Progress("cold_start, round 1 of 2", 60, 15, 2, 5.0, 23.24).silent(12.3, away=True).line()
        last = Progress("cold_start, round 1 of 2", 60, 60, 2, 20.0).last_line()
    finally:
        use_language(ENGLISH)
    assert line == "cold_start，第 1/2 轮 [#####---------------] 15/60, 失败 2, TTFT 23.2 ms, 剩余 15.0 s"
    assert away == "cold_start，第 1/2 轮 [#####---------------] 15/60, 失败 2, 服务器 12.3 s 无法连接, 无法估计"
    assert last == "cold_start，第 1/2 轮：60/60，失败 2，20.0 s"


def test_our_lines_of_the_log_are_chinese_and_bad_input_is_not() -> None:
    def logged(name: str, text: str, *values: object) -> str:
        record = logging.LogRecord(name, logging.WARNING, "", 0, text, values, None)
        assert quiet.Quiet().filter(record)
        return record.getMessage()

    text, shown = "worker %s is given up: %d requests that it may have sent are marked lost", "worker w_1 is given up: 3 requests"
    assert logged("kvcache", text, "w_1", 3).startswith(shown)
    use_language(CHINESE)
    try:
        assert logged("kvcache", text, "w_1", 3) == "放弃 worker w_1：它可能已发出的 3 个请求标记为丢失"
        assert logged("locust.runners", "every worker was lost") == "every worker was lost"
        assert logged("kvcache", "%s", BadInput("every worker was lost")) == "every worker was lost"
    finally:
        use_language(ENGLISH)


IN_WORKER = outage.__file__
WORKER_LINES = (
    ("the process that started this worker is gone: the worker ends; its records are in its spool (docs/distributed.md)", ()),
    ("%s cannot be reached (%s): the round pauses for at most %g s (--outage-limit)", ("h", "ConnectionError: refused", 60.0)),
    ("answers have output in the unknown field %r; it counts as output that is not visible, as reasoning does", ("thoughts",)),
    ("%d ended requests have no record after %g s: a listener of record_finished or request blocks", (3, 10.0)),
    ("no spool at %s: %s; records still go to the master. KV_SPOOL_DIR names another folder", ("/x", OSError("full"))),
    ("an unexpected error while %s; further ones from the same place are not shown", ("sending a request",)),
)


@pytest.mark.parametrize(("text", "values"), WORKER_LINES)
def test_lines_of_workers_are_chinese_and_their_values_are_not_searched(text: str, values: tuple[object, ...]) -> None:
    record = logging.LogRecord("kvcache", logging.WARNING, IN_WORKER, 0, text, values, None)
    use_language(CHINESE)
    try:
        assert quiet.Quiet().filter(record)
    finally:
        use_language(ENGLISH)
    said = record.getMessage()
    assert re.search("[\u4e00-\u9fff]", said)
    assert all(
        (repr(value) if "%r" in text else f"{value:g}" if isinstance(value, float) else str(value)) in said for value in values
    )


def test_a_line_of_a_worker_that_nobody_has_translated_stays() -> None:
    use_language(CHINESE)
    try:
        for text, values in (("nobody knows %s", ("this",)), ("100 % of it", ()), ("%s", ("every worker was lost",))):
            record = logging.LogRecord("kvcache", logging.WARNING, IN_WORKER, 0, text, values, None)
            assert quiet.Quiet().filter(record)
            assert record.getMessage() == (text % values if values else text)
    finally:
        use_language(ENGLISH)


def test_a_preflight_in_chinese() -> None:
    found = Finding(
        "warning", "x", "no metrics pages are listed", "Add `metrics` to the deployment file.", "Nobody knows this at all."
    )
    use_language(CHINESE)
    try:
        lines = deployment_check.report([found]).splitlines()
    finally:
        use_language(ENGLISH)
    assert lines == [
        "警告    没有列出指标页",
        "        Nobody knows this at all. 在部署文件中加上 `metrics`。",
        "预检：1 条警告。",
    ]


def test_a_line_fits_a_screen_whatever_the_scenario_is_called() -> None:
    long = Progress("x" * 200, 1_000_000, 999_999, 1234, 86_400.0, 123_456.0)
    assert len(long.line()) <= console.WIDTH
    assert long.line().endswith("left")


def test_a_line_is_due_once_a_second_on_a_terminal_and_every_ten_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    for stream, interval_s in ((Terminal(), 1.0), (io.StringIO(), 10.0)):
        shown = LoadConsole(stream)
        shown.begin()
        assert not shown.is_due
        now[0] += interval_s
        assert shown.is_due
        shown.show(Progress("s, round 1", 4, 1, 0, 1.0))
        assert not shown.is_due
        shown.clear()


def test_on_a_terminal_the_line_is_redrawn_in_place_and_taken_away() -> None:
    stream = Terminal()
    shown = LoadConsole(stream)
    for done in (1, 2):
        shown.show(Progress("s, round 1", 4, done, 0, 1.0))
    assert "1/4" in stream.getvalue()
    assert "\n1/4" not in stream.getvalue()
    shown.end(Progress("s, round 1", 4, 4, 0, 1.0))
    assert "\x1b[2K" in stream.getvalue(), "the line is erased"
    assert stream.getvalue().endswith("s, round 1: 4/4, 0 failed, 1.0 s\n")


def test_a_phase_is_named_once() -> None:
    stream = io.StringIO()
    shown = LoadConsole(stream)
    for text in ("calibrating", "calibrating", "analysing"):
        shown.phase(text)
    assert stream.getvalue() == "calibrating ...\nanalysing ...\n"


def test_a_run_in_a_pipe_is_quiet(locust: LocustProcesses, stub: Stub) -> None:
    locust.quiet = True
    code, output = locust.run(*LOAD, "--host", stub.url, "--warm-up", "2")
    assert code == 0, output
    assert not LOG_LINE.search(output)
    assert "Aggregated" not in output
    phases = [
        "calibrating ...",
        "warming up ...",
        "round 1 of 2: 4/4, 0 failed, ",
        "round 2 of 2: 4/4, 0 failed, ",
        "analysing ...",
    ]
    places = [output.index(phase) for phase in phases]
    assert places == sorted(places)
    assert "\x1b" not in output


def test_locust_tables_and_its_log_lines_on_request(locust: LocustProcesses, stub: Stub) -> None:
    locust.quiet = True
    code, output = locust.run(*LOAD, "--host", stub.url, "--locust-tables")
    assert code == 0, output
    assert "Aggregated" in output
    assert "Response time percentiles" in output
    assert not LOG_LINE.search(output)
    code, output = locust.run(*LOAD, "--host", stub.url, "--loglevel", "INFO")
    assert code == 0, output
    assert "All users spawned" in output
    assert "Aggregated" not in output
    code, output = locust.run(*LOAD, "--host", stub.url, LOCUST_LOGLEVEL="INFO")
    assert "All users spawned" in output


def test_warnings_and_errors_are_always_shown(locust: LocustProcesses, stub: Stub) -> None:
    locust.quiet = True
    code, output = locust.run(*LOAD, "--host", stub.url, "--model", "another")
    assert code == 3
    assert "/ERROR/kvcache: " in output


def test_a_preflight_shows_its_findings_alone(locust: LocustProcesses, stub: Stub) -> None:
    locust.quiet = True
    code, output = locust.run(*LOAD[:7], "--host", stub.url, "--preflight-only")
    assert code == 0, output
    lines = [line for line in output.splitlines() if line and "/WARNING/" not in line]
    assert lines[0] == "calibrating ..."
    assert lines[-1].startswith("Preflight: ")
    assert all(line.startswith(("OK ", "NOTE ", "WARNING ", "ERROR ", "        ")) for line in lines[1:-1])


def test_tables_of_locust_stand_where_users_of_other_classes_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet.quiet(), "tables", False)
    for classes, shown in (([Ours], False), ([Ours, Foreign], True)):
        quiet.show_tables_if_asked(Environment(user_classes=classes))
        assert quiet.quiet().tables is shown


@pytest.mark.slow
def test_a_run_on_a_terminal_redraws_its_line(tmp_path: Path, slow_stub: Stub) -> None:
    """The real program, whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    command = [*LOCUST, *LOAD, "--host", slow_stub.url, "--warm-up", "off", "--no-report"]
    process = subprocess.Popen(
        [*command, "--output-dir", str(tmp_path)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0.2)[0]:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.wait(60) == 0, shown
    assert re.search(rb"round 1 of 2 \[[#-]{20}\] \d/4", shown), shown
    assert b"\x1b[2K" in shown, "redrawn in place"
    assert b"round 1 of 2: 4/4, 0 failed" in shown


@pytest.mark.parametrize(
    ("line", "shown"), [("The last worker quit, stopping test.", False), ("The last worker went missing, stopping test.", True)]
)
def test_the_end_of_every_distributed_run_is_no_news(line: str, shown: bool) -> None:
    found = quiet.Quiet()
    found._restored = False
    assert found.filter(logging.LogRecord("locust.runners", logging.INFO, "", 0, line, (), None)) is shown
