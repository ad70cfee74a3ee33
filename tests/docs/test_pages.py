"""Links of the documentation lead somewhere, and its commands use only what exists."""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import sys
from pathlib import Path

import pytest
from locust.argument_parser import get_parser

import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser
from locust_kvcache.cli.contents import COMMANDS, find_command
from locust_kvcache.cli.run import locustfile_of
from locust_kvcache.contract.shipped import shipped
from tests.conftest import ROOT
from tests.docs.pages import Command, anchors, commands, links, name, pages

LOADS = ("run", "preflight", "dry-run")
MODULES = {"analysis": "report", "analysis.generate_report": "report", "analysis.compare_results": "compare"}


class Parsed(Exception):
    """Stops a command once its parser is made."""


@functools.cache
def options_of(command: str) -> frozenset[str]:
    """The long options of a sub-command, read off the parser that it makes."""
    if command in LOADS:
        return frozenset(get_parser()._option_string_actions)
    if command == "report":
        modules = ["locust_kvcache.analysis.__main__", "locust_kvcache.analysis.commands.generate_report"]
    else:
        modules = [find_command(command).module]
    return frozenset().union(*map(parser_options, modules))


def parser_options(module: str) -> frozenset[str]:
    found: list[frozenset[str]] = []

    def parse(self: argparse.ArgumentParser, *_args: object, **_named: object) -> None:
        found.append(frozenset(self._option_string_actions))
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
        patch.setattr(sys, "argv", [module])
        with pytest.raises(Parsed):
            importlib.import_module(module).main()
    return found[0]


def sub_command(command: Command) -> str | None:
    """Which of ours a command is; None: it is none, or only the program's name."""
    if command.program == "locust":
        return "run"
    if command.program == "locust-kvcache":
        return command.words[0] if command.words and command.words[0][0] not in "-.`C" else None
    module = command.program.removeprefix("python -m ").removeprefix("locust_kvcache.")
    return MODULES.get(module, module.split(".")[-1].replace("_", "-"))


def faults(command: Command) -> list[str]:
    """What of a command does not exist."""
    given = sub_command(command)
    if given is None:
        return []
    if given not in {each.name for each in COMMANDS}:
        return [f"no command {given!r}"]
    unknown = [option for option in command.options if option not in options_of(given) | {"--help", "--version"}]
    files = [word for word in command.words if re.fullmatch(r"(configs|locustfiles|docs|tests)/[\w./-]+\.(ya?ml|py|conf)", word)]
    missing = [file for file in files if not (ROOT / file).exists() and not shipped(file).exists()]
    return [*(f"no option {option}" for option in unknown), *(f"no file {file}" for file in missing)]


@pytest.mark.parametrize("page", [page for page in pages() if page.parent.name != "decisions"], ids=name)  # decisions are history
def test_commands_use_what_exists(page: Path) -> None:
    found = {str(command): faults(command) for command in commands(page)}
    assert {command: wrong for command, wrong in found.items() if wrong} == {}


def test_commands_are_found_and_judged() -> None:
    page = ROOT / "docs" / "zh-CN" / "guide.md"
    assert len(list(commands(page))) > 30
    assert faults(Command("p", "locust-kvcache", ("run", "cold_start", "--round", "2"))) == ["no option --round"]
    assert faults(Command("p", "locust-kvcache", ("compare", "--gate", "--html"))) == ["no option --html"]
    assert faults(Command("p", "locust", ("-f", "locustfiles/none.py"))) == ["no file locustfiles/none.py"]
    assert faults(Command("p", "locust-kvcache", ("retort",))) == ["no command 'retort'"]
    assert faults(Command("p", "python -m analysis.compare_results", ("--pd-stats", "A"))) == []
    assert locustfile_of("cold_start") is not None


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []
