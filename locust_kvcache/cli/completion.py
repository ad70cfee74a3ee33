"""Completes commands, scenarios and options in a shell, by argcomplete.

eval "$(register-python-argcomplete locust-kvcache)"      in ~/.bashrc or ~/.zshrc
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import argcomplete

from locust_kvcache.contract.command import PROGRAM
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.workload.scenario_file import available_scenarios

LOADS = ("run", "preflight", "dry-run")  # commands that take scenarios and our options
LOCUSTS = ("--host", "--users", "--spawn-rate", "--headless", "--locustfile", "--processes", "--master", "--worker", "--config")


def completion_parser(commands: Iterable[str]) -> argparse.ArgumentParser:
    """As much of the command line as completion needs."""
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--version", action="store_true")
    each = parser.add_subparsers()
    for name in commands:
        command = each.add_parser(name)
        if name in LOADS:
            command.add_argument("scenario", nargs="*", choices=available_scenarios())
            for option in OPTIONS:
                option.declare(_plain(command))
            for flag in LOCUSTS:
                command.add_argument(flag)
    return parser


def _plain(command: argparse.ArgumentParser) -> Callable[..., argparse.Action]:
    """`add_argument` as Locust's parser has it; argparse's own knows no environment variables."""

    def add(*names: str, env_var: str | None = None, **settings: Any) -> argparse.Action:
        return command.add_argument(*names, **settings)

    return add


def complete(commands: Iterable[str]) -> None:
    """Answer the shell, and end."""
    argcomplete.autocomplete(completion_parser(commands))
