"""Reads the YAML file of a run (`locust-kvcache run --config FILE.yaml`): the options of a load test, Locust's own among them.

A key is an option's long name. The file's values become words of the command line, except where the command line or the environment
sets the option: these win over the file, as they win over Locust's own configuration files.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust.argument_parser import get_parser

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.schema import load_yaml
from locust_kvcache.loadgen.options.declared import BY_NAME
from locust_kvcache.loadgen.options.option import Option

SUFFIXES = (".yaml", ".yml")  # other files of --config are Locust's own
NOT_IN_A_FILE = {"help", "version", "config"}
CAMPAIGN_KEYS = {"deployments", "router_policies"}


@dataclass(frozen=True)
class Setting:
    """An option as a file may set it."""

    name: str
    action: Any  # argparse's, with Locust's and configargparse's marks
    option: Option | None  # None: an option of Locust's own

    @property
    def flag(self) -> bool:
        return bool(self.action.nargs == 0)

    @property
    def many(self) -> bool:
        return self.action.nargs in ("*", "+")

    @property
    def repeats(self) -> bool:
        return isinstance(self.action, argparse._AppendAction)

    @property
    def mapping(self) -> str:
        """How a mapping becomes words: JSON, `Name: value` or `name=value`; empty: a mapping is not taken."""
        metavar = str(self.action.metavar or "")
        return {"JSON": "json", "HEADER": ": "}.get(metavar, "=" if metavar.startswith("NAME=") else "")

    @property
    def on_off(self) -> bool:
        """YAML 1.1 reads the words on and off as true and false."""
        words = [*(self.action.choices or ()), *str(self.action.metavar or "").split("|")]
        return "off" in words


@dataclass(frozen=True)
class ConfigFile:
    """The words of each option that a file sets, by its `dest`."""

    path: Path
    words: Mapping[str, tuple[str, ...]]


def settings(parser: argparse.ArgumentParser) -> dict[str, Setting]:
    """Every option that a file may set, by each of its long names."""
    found = {}
    for action in parser._actions:
        for name in (text[2:] for text in action.option_strings if text.startswith("--")):
            if action.dest not in NOT_IN_A_FILE and action.help != argparse.SUPPRESS:
                found[name] = Setting(name, action, BY_NAME.get(name) or _alias_of(action))
    return found


def _alias_of(action: argparse.Action) -> Option | None:
    return next((BY_NAME[text[2:]] for text in action.option_strings if text[2:] in BY_NAME), None)


def read_config(path: Path, parser: argparse.ArgumentParser | None = None) -> ConfigFile:
    """The file's words; BadInput for a key that is no option, with the nearest one, and for a value that the option does not take."""
    known = settings(parser or get_parser())
    words: dict[str, tuple[str, ...]] = {}
    keys: dict[str, str] = {}
    loaded = load_yaml(path)
    if CAMPAIGN_KEYS & loaded.keys():
        raise BadInput(f"{path}: is a campaign of several deployments; start it with `locust-kvcache campaign {path}`")
    for key, value in loaded.items():
        setting = known.get(str(key))
        if setting is None:
            raise BadInput(f"{path}: key {str(key)!r} is not an option; {_nearest(str(key), known)}")
        dest = setting.action.dest
        if dest in words:
            raise BadInput(f"{path}: keys {keys[dest]!r} and {key!r} are the same option; keep one of them")
        words[dest], keys[dest] = tuple(_words(setting, value, f"{path}: key {key!r}")), str(key)
    return ConfigFile(path, words)


def is_run_file(word: str) -> bool:
    """Whether an argument names the YAML file of a run, where a scenario is expected: all its keys are options."""
    path = Path(word)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        keys = load_yaml(path).keys()
    except BadInput:
        return False  # whoever reads it as a scenario says what is wrong with it
    return bool(keys) and keys <= settings(get_parser()).keys()


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words for a run's files: a header's value is left out unless it comes from the environment."""
    return [
        f"{word.partition(':')[0]}: (not shown)" if word.startswith("--header=") and "${" not in word else word for word in words
    ]


def _nearest(key: str, known: Mapping[str, Setting]) -> str:
    near = difflib.get_close_matches(key.replace("_", "-"), known, n=1)
    return f"did you mean {near[0]!r}?" if near else "`locust-kvcache config schema` lists them all"


def _words(setting: Setting, value: Any, where: str) -> Iterator[str]:
    """The option as it would be typed; nothing for a flag that is off."""
    flag = f"--{setting.name}"
    if setting.flag:
        if not isinstance(value, bool):
            raise BadInput(f"{where} is {value!r}; expected true or false")
        yield from [flag] if value else []
        return
    texts = [_checked(setting, text, where) for text in _texts(setting, value, where)]
    if setting.many:
        if not texts:
            raise BadInput(f"{where} is empty; expected at least one value, or leave the key out")
        if dashed := [text for text in texts if text.startswith("-")]:
            raise BadInput(f"{where} has {dashed[0]!r}; expected values that do not begin with '-', which options do")
        yield from (flag, *texts)
    else:
        yield from (f"{flag}={text}" for text in texts)


def _texts(setting: Setting, value: Any, where: str) -> list[str]:
    if isinstance(value, dict) and setting.mapping:
        if setting.mapping == "json":
            return [json.dumps(value)]
        return [f"{name}{setting.mapping}{_text(setting, item, where)}" for name, item in value.items()]
    if isinstance(value, list) and (setting.many or setting.repeats):
        return [_text(setting, item, where) for item in value]
    return [_text(setting, value, where)]


def _text(setting: Setting, value: Any, where: str) -> str:
    if isinstance(value, bool) and setting.on_off:
        return "on" if value else "off"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        several = "text, a number, or a list of them" if setting.many or setting.repeats else "text or a number"
        raise BadInput(f"{where} is {value!r}; expected {several}{', or a mapping' if setting.mapping else ''}")
    return str(value)


def _checked(setting: Setting, text: str, where: str) -> str:
    """The text, if the option takes it."""
    choices = setting.action.choices
    if choices and text not in map(str, choices):
        raise BadInput(f"{where} is {text!r}; allowed: {', '.join(map(str, choices))}")
    if setting.action.type:
        try:
            setting.action.type(text)
        except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
            expected = {int: "a whole number", float: "a number"}.get(setting.action.type)
            why = f"is {text!r}; expected {expected}" if expected else str(error).removeprefix(f"--{setting.name} ")
            raise BadInput(f"{where} {why}") from error
    return text


def given(arguments: Sequence[str]) -> set[str]:
    """The `dest` of every option on the command line itself, whatever files and the environment say."""
    parser = get_parser(default_config_files=[])
    absent: Any = argparse.SUPPRESS
    for action in parser._actions:
        action.default = absent
    parser._defaults.clear()
    known, _ = parser.parse_known_args(_split(arguments, lambda file: True)[0], env_vars={})
    return set(vars(known))


def _split(arguments: Sequence[str], ours: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """The arguments without --config of such files, and the files."""
    rest: list[str] = []
    files: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--config":
            rest.append(word)
            continue
        file = value if equals else next(words, "")
        if ours(file):
            files.append(file)
        else:
            rest += [word] if equals else [word, *([file] if file else [])]
    return rest, files


def with_config_file(arguments: Sequence[str]) -> tuple[list[str], ConfigFile | None]:
    """The command line with what --config FILE.yaml adds to it, and what of the file is in force."""
    rest, files = _split(arguments, lambda file: file.endswith(SUFFIXES))
    if not files:
        return list(arguments), None
    if len(files) > 1:
        raise BadInput(f"--config names {' and '.join(files)}; a run has one YAML file")
    parser = get_parser()
    file = read_config(Path(files[0]), parser)
    settled = given(rest) | {action.dest for action in parser._actions if (action.env_var or "") in os.environ}
    in_force = {dest: words for dest, words in file.words.items() if dest not in settled}
    return [*rest, *(word for words in in_force.values() for word in words)], ConfigFile(file.path, in_force)
