"""What all commands share: how --help looks, and how one ends on bad input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit

PROGRAM = "locust-kvcache"


_typed: list[str] = []


def note_typed_command(words: Sequence[str]) -> None:
    """`locust-kvcache run` makes Locust's command line of its own; a run's files name what the person typed."""
    _typed[:] = words


def typed_command() -> list[str]:
    """Empty where Locust was started as such: sys.argv is what was typed then."""
    return list(_typed)


def command_parser(name: str, about: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of `locust-kvcache NAME`; `examples` stand at the end of its --help, without the program's name."""
    return argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}",
        description=about,
        epilog="examples:\n" + "\n".join(f"  {PROGRAM} {name} {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_command(main: Callable[[], int]) -> int:
    """The exit code of a command; bad input becomes one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without UTF-8 must not end a run
    try:
        return main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # `| head`: nobody reads on, which is no error
        return Exit.OK
