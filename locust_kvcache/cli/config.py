"""Shows, checks and describes the settings of a run (`locust-kvcache config show | check | schema`)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locust_kvcache.cli.run import locust_arguments
from locust_kvcache.contract.command import PROGRAM, command_parser
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.contract.file_schemas import NAMES, file_schema

ABOUT = """Settings of a run from one file: locust-kvcache run --config FILE.yaml (docs/configuration.md).

show    what is in force with these arguments of `run`, and where each value comes from; --changed leaves the defaults out
check   whether a file can be used
schema  the JSON Schema of such a file, for editors; schema run, record, stats: of run.json, a line of records.jsonl, stats.json"""
EXAMPLES = [
    "show run.yaml --rounds 3",
    "show --changed cold_start -u 4",
    "check run.yaml",
    "schema > run.schema.json",
    "schema stats",
]
VALUE_WIDTH = 44


def main() -> int:
    parser = command_parser("config", ABOUT, EXAMPLES)
    parser.add_argument("what", choices=("show", "check", "schema"), metavar="show|check|schema")
    parser.add_argument("--changed", action="store_true", help="show: only what differs from the defaults")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="show: arguments of `run`; check: the file")
    chosen = parser.parse_args()
    words = [word for word in chosen.words if word != "--changed"]
    changed = chosen.changed or len(words) < len(chosen.words)  # it may stand before and after the verb
    import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser

    if {"-h", "--help"} & set(words):
        parser.print_help()
        return Exit.OK
    if chosen.what == "show":
        print(shown(_files_by_option(words), changed))
        return Exit.OK
    if chosen.what == "check":
        if len(words) != 1 or words[0].startswith("-"):
            parser.error("`config check` takes one file")
        print(checked(Path(words[0])))
        return Exit.OK
    print(json.dumps(_schema(words), indent=2, ensure_ascii=False))
    return Exit.OK


def _files_by_option(words: Sequence[str]) -> list[str]:
    """`show FILE.yaml` is `show --config FILE.yaml`, as `check FILE.yaml` is."""
    from locust_kvcache.loadgen.options.config_file import is_run_file

    after = ["", *words]
    return [
        part
        for before, word in zip(after, words, strict=False)
        for part in (("--config", word) if before != "--config" and is_run_file(word) else (word,))
    ]


def _schema(words: Sequence[str]) -> dict[str, Any]:
    """Of a run's YAML file, or of one of the files that a run leaves."""
    if not words:
        from locust.argument_parser import get_parser

        from locust_kvcache.loadgen.options.config_schema import config_schema

        return config_schema(get_parser())
    if len(words) > 1 or words[0] not in NAMES:
        raise BadInput(f"config schema: {' '.join(words)!r} is not a file of a run; allowed: {', '.join(NAMES)}, or nothing")
    return file_schema(words[0])


def checked(path: Path) -> str:
    """One line that says what the file sets; BadInput where a run would refuse it. The environment and other files are left out."""
    from locust.argument_parser import get_parser

    from locust_kvcache.loadgen.options.config_file import read_config
    from locust_kvcache.loadgen.options.load_options import check_users
    from locust_kvcache.loadgen.options.run_options import read_options

    parser = get_parser(default_config_files=[])
    file = read_config(path, parser)
    words = [word for each in file.words.values() for word in each]
    try:
        parsed = parser.parse_args(words, env_vars={})
        check_users(parsed.num_users, parsed.spawn_rate)
        read_options(parsed)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    return f"{path}: {len(file.words)} settings, all usable: {PROGRAM} run --config {path}"


def shown(arguments: Sequence[str], changed: bool) -> str:
    """A line for each option: its value and where that comes from, in the groups of `run --help`."""
    from locust.argument_parser import get_parser

    from locust_kvcache.loadgen.options.config_file import settings
    from locust_kvcache.loadgen.options.option import GROUPS

    parser = get_parser()
    parsed, _ = parser.parse_known_args(locust_arguments(arguments))
    sources = _sources(parser, arguments)
    lines: list[str] = []
    known = {setting.action.dest: setting for setting in reversed(settings(parser).values())}  # by their first long name
    for group in (*GROUPS, "Locust's own"):
        entries = [
            f"  {setting.name:<22}{_fitted(_value(setting, parsed)):<{VALUE_WIDTH}}  {sources.get(dest, 'default')}"
            for dest, setting in reversed(known.items())
            if group == (setting.option.group if setting.option else "Locust's own")
            and (dest in sources or not (changed or setting.option is None))
        ]
        lines += [f"{group}:", *entries, ""] if entries else []
    return "\n".join([*lines, "Of Locust's own options those at their defaults are left out: locust --help"])


def _fitted(value: str) -> str:
    return value if len(value) <= VALUE_WIDTH else f"{value[: VALUE_WIDTH - 3]}..."


def _value(setting: Any, parsed: Any) -> str:
    """Text for people; no secret."""
    value = getattr(parsed, setting.action.dest)
    if value in (None, "", []) and setting.option:
        return str(setting.option.default_text)
    if getattr(setting.action, "is_secret", False):
        return "(not shown)"
    if setting.name == "header":
        return ", ".join(str(text).partition(":")[0] + ": (not shown)" * ("${" not in str(text)) for text in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sources(parser: Any, arguments: Sequence[str]) -> dict[str, str]:
    """Where each option that is not at its default has its value from, by `dest`; the first source that has it decides."""
    from locust_kvcache.loadgen.options.config_file import given, with_config_file

    words, file = with_config_file(arguments)
    named = set(locust_arguments(words)) - set(words)  # what `run` adds for scenarios that are named: -f and --scenarios
    sources = dict.fromkeys(given(words) - {"user_classes"}, "command line")
    if file:
        sources |= dict.fromkeys(file.words, str(file.path))
    if "--scenarios" in named or "user_classes" in given(words):
        sources["scenarios"] = "command line"
    if "-f" in named:
        sources["locustfile"] = "the scenarios"
    for action in parser._actions:
        variable = action.env_var
        if variable and variable in os.environ:
            sources.setdefault(action.dest, f"environment variable {variable}")
    for source, found in parser.get_source_to_settings_dict().items():
        if source.startswith("config_file"):
            for _, (action, _value) in found.items():
                if action is not None:
                    sources.setdefault(action.dest, source.partition("|")[2])
    return sources


if __name__ == "__main__":
    sys.exit(main())
