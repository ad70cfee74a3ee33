"""The table of contents: every command is there, can be imported, and teaches itself with an example."""

from __future__ import annotations

import importlib

import pytest

from locust_kvcache import __version__
from locust_kvcache.cli.contents import COMMANDS, GROUPS, main

WANTED = (
    "run campaign preflight dry-run "
    "report compare repeats sweep capacity working-set retention noisy-neighbour load-effect recovery dose-response oracle advise ratio "
    "export upload merge-spool check-configs emulator certificate doctor config plugins init"
)  # fmt: skip


def test_every_command_is_listed_in_a_group() -> None:
    assert {command.name for command in COMMANDS} == set(WANTED.split())
    assert {command.group for command in COMMANDS} == set(GROUPS)


def test_alone_it_prints_the_contents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {command.name} " in printed for command in COMMANDS)
    assert max(map(len, printed.splitlines())) <= 110


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_teaches_with_an_example(
    command: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["locust-kvcache"])
    name = command.name  # type: ignore[attr-defined]
    try:
        code = main([name, "--help"])
    except SystemExit as end:
        code = end.code  # argparse prints and leaves
    printed = capsys.readouterr().out
    assert code == 0
    assert printed.startswith(f"usage: locust-kvcache {name} ")
    assert f"\n  locust-kvcache {name}" in printed.split("examples:")[1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"locust-kvcache {__version__} (Locust 2.")


@pytest.mark.parametrize(
    ("typed", "says"), [("rnu", "did you mean 'run'?"), ("working_set", "did you mean 'working-set'?"), ("zzz", "allowed: run,")]
)
def test_what_is_no_command(typed: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 3
    assert says in capsys.readouterr().err


def test_bad_input_of_a_command_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["locust-kvcache"])
    assert main(["report", "no_such_run"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_commands_of_before_are_the_same_functions() -> None:
    for command in COMMANDS:
        if command.module.startswith("locust_kvcache.analysis.commands."):
            before = importlib.import_module("analysis." + command.module.rsplit(".", 1)[1])
            assert before.main is getattr(importlib.import_module(command.module), command.function)
