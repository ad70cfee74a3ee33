"""Defines an option as it is declared: name, group, default and meaning, for parser, help and docs alike."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput

SENT = "What is sent"
LOAD = "Load"
ROUNDS = "Rounds and caches"
SERVERS = "Servers"
OUTPUT = "Output"
TRACE = "Trace replay"
STUDIES = "Studies"
DRY_RUN = "Dry run"
HIGHEST = 1_000_000_000  # of any number: beyond it nothing ends, or nothing is meant
GROUPS = (SENT, LOAD, ROUNDS, SERVERS, OUTPUT, TRACE, STUDIES, DRY_RUN)


@dataclass(frozen=True)
class Option:
    """An option of ours. `name` is also its key in Locust's configuration files."""

    name: str
    group: str
    help: str
    default: Any = ""
    shown_default: str = ""  # where the value itself says too little
    metavar: str | None = None
    kind: type = str  # of a value: str, int or float
    low: float | None = None  # a number must be at least this
    many: bool = False  # takes any number of words
    flag: bool = False
    repeats: bool = False  # may be given several times, a value each
    alone: str = ""  # what the option means without a value
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()  # names that users of other tools know
    same_as: str = ""  # sets another option's value
    in_form: bool = False  # stands in the web UI's start form

    @property
    def variable(self) -> str | None:
        """The environment variable; an option that only sets another one has none."""
        return None if self.same_as else "KV_" + self.name.upper().replace("-", "_")

    @property
    def default_text(self) -> str:
        if self.shown_default:
            return self.shown_default
        if self.flag:
            return "off"
        return "none" if self.default in ("", None) else str(self.default)

    @property
    def usage(self) -> str:
        """The option as one types it: --rounds N."""
        value = "" if self.flag else self.metavar or "|".join(self.choices)
        names = ", ".join(f"--{name}" for name in (self.name, *self.aliases))
        return f"{names} {value}{' ...' if self.many else ''}".strip()

    def declare(self, add: Callable[..., argparse.Action]) -> argparse.Action:
        """Add it to a parser by its `add_argument`."""
        settings: dict[str, Any] = {
            "default": self.default,
            "help": f"{self.help}. Default: {self.default_text}".replace("%", "%%"),
        }
        if self.variable:
            settings["env_var"] = self.variable
        if self.flag:
            settings["action"] = "store_true"
        elif self.choices:
            settings["choices"] = self.choices
        else:
            settings["metavar"] = self.metavar
        if self.repeats:
            settings["action"] = "append"
        if self.alone:
            settings |= {"nargs": "?", "const": self.alone}
        if self.many or self.same_as:
            settings["nargs"] = 1 if self.same_as else "*"
        if self.many:
            settings["action"] = Words
        if self.same_as:
            settings["dest"] = self.same_as.replace("-", "_")
        if self.low is not None or self.kind is not str:
            settings["type"] = self._parse
        return add(*(f"--{name}" for name in (self.name, *self.aliases)), **settings)

    def _parse(self, text: str) -> Any:
        """What argparse calls with a value."""
        try:
            return number(self.name, text, self.kind, self.low)
        except BadInput as error:
            raise argparse.ArgumentTypeError(str(error)) from error


class Words(argparse.Action):
    """The values of an option that takes several: given again, it adds to them, and given without any it is a mistake."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if not values:
            raise argparse.ArgumentError(self, "no value is given; expected at least one, or leave the option out")
        earlier = getattr(namespace, self.dest, self.default)
        setattr(namespace, self.dest, values if earlier is self.default else [*earlier, *values])


def number(name: str, value: Any, kind: type, low: float | None) -> Any:
    """The value as a number; None where none is given. The web form checks nothing, so that this is asked again at each start."""
    if value is None or value == "":
        return None
    try:
        found = kind(value)
    except (TypeError, ValueError):
        found = None
    least = "" if low is None else f" of at least {low:g}"
    expected = ("a whole number" if kind is int else "a number") + least
    if found is None or found != found or (low is not None and not found >= low):
        raise BadInput(f"--{name} is {value!r}; expected {expected}")
    if not -HIGHEST <= found <= HIGHEST:
        raise BadInput(f"--{name} is {str(value)[:40]!r}; expected {expected}, at most {HIGHEST:,}")
    return found


def words(given: Any) -> list[str]:
    """A list from the command line; text from the web form, whose empty list would want numbers."""
    return [str(word) for word in given] if isinstance(given, list) else str(given).replace(",", " ").split()
