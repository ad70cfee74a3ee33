"""Holds what all commands share: the look of --help, and one line for bad input."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import ALWAYS, Cause, Exit, help_text

PROGRAM = "locust-kvcache"
ARGPARSE_REFUSED = 2


_typed: list[str] = []
_config_file: dict[str, Any] = {}


def note_typed_command(words: Sequence[str]) -> None:
    """`locust-kvcache run` makes Locust's command line of its own; a run's files name what the person typed."""
    _typed[:] = words


def typed_command() -> list[str]:
    """Empty where Locust was started as such: sys.argv is what was typed then."""
    return list(_typed)


def note_config_file(path: str, words: Sequence[str]) -> None:
    """A run's files name what its YAML file set, as the file may change later."""
    _config_file.update(path=path, words=list(words))


def config_file() -> dict[str, Any] | None:
    return dict(_config_file) or None


def meant_option(message: str, parser: argparse.ArgumentParser) -> str:
    """`did you mean --requests?` after argparse's words on an option that it does not know; empty where nothing is near."""
    _, found, unknown = message.partition("unrecognized arguments: ")
    name = unknown.split()[0].split("=")[0] if found and unknown.split() else ""
    near = difflib.get_close_matches(name, parser._option_string_actions, 1) if name.startswith("--") else []
    return f"did you mean {near[0]}?" if near else ""


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what it refuses; the usage is in --help."""

    def error(self, message: str) -> NoReturn:
        hint = meant_option(message, self) or f"`{self.prog} --help` lists what there is"
        self.exit(int(Exit.BAD_INPUT), f"error: {' '.join(message.split())}; {hint}\n")


def command_parser(name: str, about: str, examples: Sequence[str], causes: Sequence[Cause] = ALWAYS) -> argparse.ArgumentParser:
    """The parser of `locust-kvcache NAME`. Its --help ends with `examples` (without the program's name) and the exit codes of `causes`."""
    shown = [f"  {PROGRAM} {name} {example}".rstrip() for example in examples]
    return OneLineParser(
        prog=f"{PROGRAM} {name}",
        description=about,
        epilog="\n".join(["examples:", *shown, "", help_text(causes)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_command(main: Callable[[], int]) -> int:
    """The exit code of a command; bad input becomes one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without UTF-8 must not end a run
    try:
        return main()
    except SystemExit as stop:  # argparse: 2 for arguments that it refuses, which is bad input
        return Exit.BAD_INPUT if stop.code == ARGPARSE_REFUSED else int(stop.code or 0)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # `| head`: nobody reads on, which is no error
        return Exit.OK
