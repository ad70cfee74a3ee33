"""locust-kvcache doctor: each check with a machine that passes it and one that does not."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import sys
from pathlib import Path

import pytest

from locust_kvcache.cli import doctor, machine_checks
from locust_kvcache.contract.finding import NOTE, OK, WARNING
from locust_kvcache.contract.language import ENGLISH, use_language
from tests.ports import free_port


def test_cores_and_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "getloadavg", lambda: (2.0, 0.0, 0.0))
    assert machine_checks.check_cores().severity == OK  # half of four cores
    monkeypatch.setattr(os, "getloadavg", lambda: (2.1, 0.0, 0.0))
    busy = machine_checks.check_cores()
    assert (busy.severity, busy.text) == (WARNING, "4 cores for this process, load average 2.1 over the last minute")


@pytest.mark.parametrize(
    ("limits", "severity"), [((2048, 4096), OK), ((1024, 4096), NOTE), ((256, 256), WARNING), ((-1, -1), OK)]
)
def test_open_files(limits: tuple[int, int], severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert machine_checks.check_open_files().severity == severity


@pytest.mark.parametrize(("name", "severity"), [("tsc", OK), ("kvm-clock", OK), ("hpet", WARNING), (None, NOTE)])
def test_clock_source(name: str | None, severity: str, tmp_path: Path) -> None:
    source = tmp_path / "current_clocksource"
    if name:
        source.write_text(f"{name}\n")
    assert machine_checks.check_clock(source).severity == severity


def test_the_kernel_stamps_a_byte_of_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_checks.check_kernel_stamps().severity == OK
    monkeypatch.setattr(machine_checks, "SO_TIMESTAMPNS", 13)  # SO_LINGER: taken, and stamps nothing
    assert machine_checks.check_kernel_stamps().severity == WARNING


def test_a_port_that_is_taken() -> None:
    port = free_port()
    with socket.create_server(("", port)):
        found = machine_checks.check_port(port, "workers", "--master-bind-port")
        assert found.severity == WARNING
        assert f"port {port} (workers) is taken by another process" in found.text
    assert machine_checks.check_port(port, "workers", "--master-bind-port").severity == OK


def test_the_certificate_and_its_age(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    assert machine_checks.check_certificate(path).text == "this machine's timing error was not measured"
    path.write_text("{}")
    assert machine_checks.check_certificate(path).severity == WARNING
    written = {"format": 1, "host": socket.gethostname(), "certified_chunks_per_s": 30_000}
    path.write_text(json.dumps(written))
    day_s, made_s = 86_400, path.stat().st_mtime
    assert (
        machine_checks.check_certificate(path, made_s + 3 * day_s).text == "certified up to 30,000 chunks/s a worker, 3 days ago"
    )
    assert machine_checks.check_certificate(path, made_s + 90 * day_s).severity == OK
    assert machine_checks.check_certificate(path, made_s + 91 * day_s).severity == NOTE
    path.write_text(json.dumps({**written, "host": "elsewhere"}))
    assert "of another host, elsewhere" in machine_checks.check_certificate(path).text


def test_the_command_prints_what_it_found_and_how_it_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    with socket.create_server(("", 0)) as taken, socket.create_server(("", 0)) as other:
        ports = ["--web-port", str(taken.getsockname()[1]), "--master-port", str(other.getsockname()[1])]
        monkeypatch.setattr(sys, "argv", ["doctor", *ports])
        assert doctor.main() == 0
        monkeypatch.setattr(sys, "argv", ["doctor", "--gate", *ports])
        assert doctor.main() == 1
    printed = capsys.readouterr().out
    assert "warning: port " in printed
    assert "A load test can run; its times may be wrong. See the warnings." in printed
    monkeypatch.setattr(sys, "argv", ["doctor", "--web-port", "0"])
    with pytest.raises(SystemExit) as stopped:
        doctor.main()
    assert stopped.value.code == 3


def test_in_chinese_no_english_sentence_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))  # a warning, with what to do about it
    with socket.create_server(("", 0)) as taken:
        ports = ["--web-port", str(taken.getsockname()[1]), "--master-port", str(free_port())]
        monkeypatch.setattr(sys, "argv", ["doctor", "--lang", "zh", *ports])
        try:
            assert doctor.main() == 0
        finally:
            use_language(ENGLISH)
    printed = capsys.readouterr().out
    assert re.findall(r"(?:\b[a-z]{2,} ){2}[a-z]{2,}\b", printed) == []
    assert "警告：" in printed
