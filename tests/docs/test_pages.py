"""Links of the documentation lead somewhere, and its commands use only what exists."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import re
import sys
from pathlib import Path

import pytest
import yaml
from locust.argument_parser import get_parser

import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser
from locust_kvcache.cli.contents import COMMANDS, find_command
from locust_kvcache.cli.run import locust_arguments, locustfile_of
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.shipped import shipped
from locust_kvcache.loadgen.options.run_options import read_options
from tests.conftest import ROOT
from tests.docs.pages import Command, anchors, code_spans, commands, links, name, pages, shell_lines

LOADS = ("run", "preflight", "dry-run")
REPOSITORY_FILE = re.compile(r"(?<![\w/.-])(?:configs|scenarios|locustfiles|docs)/[\w/.-]*\w")
SERVICE = re.compile(r"(?<=\s)(?:vllm|mooncake|locust|emulator)-\w+(?=[\s)]|$)")
MODULES = {"analysis": "report", "analysis.generate_report": "report", "analysis.compare_results": "compare"}


class Parsed(Exception):
    """Stops a command once its parser is made."""


@functools.cache
def parsers_of(command: str) -> tuple[argparse.ArgumentParser, ...]:
    """The parsers that a sub-command may choose from, as it makes them itself."""
    if command in LOADS:
        return (get_parser(),)
    if command == "report":
        modules = ["locust_kvcache.analysis.__main__", "locust_kvcache.analysis.commands.generate_report"]
    else:
        modules = [find_command(command).module]
    if command == "config":  # it takes the arguments of `run` too
        return (parser_of(modules[0]), get_parser())
    return tuple(parser_of(module) for module in modules)


def parser_of(module: str) -> argparse.ArgumentParser:
    found: list[argparse.ArgumentParser] = []

    def parse(self: argparse.ArgumentParser, *_args: object, **_named: object) -> None:
        found.append(self)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
        patch.setattr(sys, "argv", [module])
        with pytest.raises(Parsed):
            importlib.import_module(module).main()
    return found[0]


def options_of(command: str) -> set[str]:
    return {option for parser in parsers_of(command) for option in parser._option_string_actions}


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
    if unknown := [option for option in command.options if option not in options_of(given) | {"--help", "--version"}]:
        return [f"no option {option}" for option in unknown]
    files = [word for word in command.words if re.fullmatch(r"(configs|locustfiles|docs|tests)/[\w./-]+\.(ya?ml|py|conf)", word)]
    missing = [file for file in files if not (ROOT / file).exists() and not shipped(file).exists()]
    return [f"no file {file}" for file in missing] or refusal(given, command)


def refusal(given: str, command: Command) -> list[str]:
    """What the parser has against the values and their combination; words that stand for others ("...") cannot be judged."""
    words = list(command.words[1:] if command.program == "locust-kvcache" else command.words)
    if not words or any("..." in word or word in ("--help", "--version", "FILE...", "FILE.yaml") for word in words):
        return []
    said: list[list[str]] = []
    for parser in parsers_of(given):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                parsed = parser.parse_args(locust_arguments(words) if given in LOADS else words)
                if given in LOADS:
                    read_options(parsed)
                return []
            except (SystemExit, BadInput) as refused:
                said.append([f"{errors.getvalue()}{refused}"])
    return said[0]


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
    assert "names 'warm'" in faults(Command("p", "locust-kvcache", ("run", "cold_start", "--arms", "warm")))[0]
    assert "required: --prompt-tokens" in faults(Command("p", "locust-kvcache", ("ratio", "--gpus", "8")))[0]
    assert faults(Command("p", "python -m analysis.compare_results", ("--pd-stats", "A"))) == []
    assert locustfile_of("cold_start") is not None


@pytest.mark.parametrize("page", [page for page in pages() if page.parent.name != "decisions"], ids=name)
def test_files_services_and_profiles_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = [*shell_lines(text), *code_spans(text)]
    found = {file for line in lines for file in REPOSITORY_FILE.findall(line)}
    files = sorted(file for file in found if not file.rpartition("/")[2].isupper())  # RUN, NAME: words that stand for others
    assert [file for file in files if not any(ROOT.glob(f"{file}*"))] == []
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    composed = [line for line in lines if re.search(r"docker[ -]compose ", line)]
    profiles = {profile for line in composed for profile in re.findall(r"--profile (\S+)", line)}
    assert profiles <= {profile for service in compose.values() for profile in service.get("profiles", [])}
    services = {word for line in composed for word in SERVICE.findall(line)}
    assert services <= set(compose)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []
