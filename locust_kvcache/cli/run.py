"""Runs Locust in this process for `locust-kvcache run`, `preflight` and `dry-run`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from locust_kvcache.cli.run_help import DRY_RUN_HELP, PREFLIGHT_HELP, run_help
from locust_kvcache.contract.command import PROGRAM, note_config_file, note_typed_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.shipped import shipped
from locust_kvcache.workload.scenario_file import available_scenarios

NO_LOCUSTFILE = "locustfile.py"  # Locust's default, where no -f, configuration file or environment variable names one


def run() -> int:
    return _start(sys.argv[1:], run_help, [])


def preflight() -> int:
    return _start(sys.argv[1:], lambda: PREFLIGHT_HELP, ["--preflight-only", "--headless"])


def dry_run() -> int:
    return _start(sys.argv[1:], lambda: DRY_RUN_HELP, ["--dry-run", "--headless"])


def locustfile_of(scenario: str) -> Path | None:
    """The runnable file of a scenario: ./locustfiles/NAME.py, else the one that comes with the product."""
    candidates = (Path("locustfiles") / f"{scenario}.py", shipped("locustfiles") / f"{scenario}.py")
    return next((path for path in candidates if path.is_file()), None)


def locustfiles_for(scenarios: Sequence[str]) -> str:
    """What Locust is to load: the files of these scenarios; all files where one has none of its own, or none is named."""
    found = [locustfile_of(scenario) for scenario in scenarios]
    if not found or None in found:
        own = Path("locustfiles")
        return str(own if any(own.glob("*.py")) else shipped("locustfiles"))
    return ",".join(map(str, found))


def locust_arguments(arguments: Sequence[str]) -> list[str]:
    """Locust's own command line for `run`: --config FILE.yaml becomes the options that the file sets, scenarios that are named become
    -f and --scenarios, and the rest stays as it is."""
    import locust_kvcache.loadgen.user  # noqa: F401  declares our options on Locust's parser

    from locust.argument_parser import get_parser  # isort: skip

    from locust_kvcache.loadgen.options.config_file import is_run_file, with_config_file, without_secrets

    arguments, file = with_config_file(arguments)
    if file:
        note_config_file(str(file.path), without_secrets([word for words in file.words.values() for word in words]))
    known, unknown = get_parser().parse_known_args(list(arguments))
    if known.locustfile != NO_LOCUSTFILE:
        return list(arguments)
    # Words that belong to no option are scenarios, wherever they stand; argparse hands on the very objects that it was given.
    words = [*known.user_classes, *(word for word in unknown if not word.startswith("-"))]
    named = [argument for argument in arguments if any(argument is word for word in words)]
    if wrong := next(filter(is_run_file, named), None):
        raise BadInput(f"{wrong} is the file of a run, not a scenario; give it as --config {wrong}")
    replaced = file.words.get("scenarios", ()) if file and named else ()  # those that are named take their place
    rest = [argument for argument in arguments if not any(argument is word for word in (*words, *replaced))]
    scenarios = named or list(known.scenarios or (["trace_replay"] if known.trace else ["retention"] if known.gaps else []))
    needs_one = known.headless and not (known.worker or known.preflight_only or known.dry_run)
    if needs_one and not scenarios:
        raise BadInput(f"no scenario; name one or more: {PROGRAM} run {available_scenarios()[0]} ... (available: "
                       f"{', '.join(available_scenarios())}; or a YAML file, or -f with a locustfile of your own)")  # fmt: skip
    return ["-f", locustfiles_for(scenarios), *rest, *(["--scenarios", *named] if named else [])]


def _start(arguments: Sequence[str], help_text: Callable[[], str], extra: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return 0
    sys.path.insert(0, os.getcwd())  # as `python -m locust` does: a locustfile may import what lies beside it
    note_typed_command([*sys.argv[0].split(), *sys.argv[1:]])
    sys.argv = [sys.argv[0], *locust_arguments([*arguments, *extra])]
    from locust import events
    from locust.main import main

    begun: list[bool] = []
    events.init.add_listener(lambda **_: begun.append(True))
    try:
        main()
    except SystemExit as stop:
        if begun:  # then 2 is an incomplete run, not arguments that were refused
            return stop.code if isinstance(stop.code, int) else 0
        raise
    return 0
