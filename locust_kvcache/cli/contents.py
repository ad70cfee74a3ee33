"""Lists every sub-command of `locust-kvcache` and starts the one that is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from locust_kvcache import __version__
from locust_kvcache.contract.command import PROGRAM, run_command
from locust_kvcache.contract.errors import BadInput

LOAD = "Send a load"
UNDERSTAND = "Understand what was measured"
SERVERS = "The servers under test"
SET_UP = "Set up"
GROUPS = (LOAD, UNDERSTAND, SERVERS, SET_UP)


@dataclass(frozen=True)
class Command:
    name: str
    group: str
    about: str
    module: str
    function: str = "main"

    def run(self, arguments: Sequence[str]) -> int:
        """The command reads its arguments from sys.argv, as it does when it is started by `python -m`."""
        sys.argv = [f"{PROGRAM} {self.name}", *arguments]
        code: int = getattr(importlib.import_module(self.module), self.function)()
        return code


RUN = "locust_kvcache.cli.run"
ANALYSIS = "locust_kvcache.analysis.commands"
COMMANDS = (
    Command("run", LOAD, "run scenarios against a server: cold, then the same requests again", RUN, "run"),
    Command("campaign", LOAD, "measure several deployments in turns (A B A B A B), and compare them", "locust_kvcache.campaign.command"),
    Command("dry-run", LOAD, "show what a run would send, take and cost, without sending", RUN, "dry_run"),
    Command("report", UNDERSTAND, "make tables, stats.json and the report of a run", "locust_kvcache.cli.report"),
    Command("compare", UNDERSTAND, "compare runs: PD with a single server, before with after", f"{ANALYSIS}.compare_results"),
    Command("repeats", UNDERSTAND, "summarise repeated runs: what holds from one run to the next", f"{ANALYSIS}.repeats"),
    Command("sweep", UNDERSTAND, "show the runs of --concurrency 1 5 10 in one table", f"{ANALYSIS}.sweep"),
    Command("capacity", UNDERSTAND, "find the highest rate within the objectives in the runs of --capacity", f"{ANALYSIS}.capacity"),
    Command("working-set", UNDERSTAND, "find where each cache tier stops holding in the runs of --working-set", f"{ANALYSIS}.working_set"),
    Command("retention", UNDERSTAND, "show how long the caches keep a prompt in the runs of --gaps", f"{ANALYSIS}.retention"),
    Command("noisy-neighbour", UNDERSTAND, "show what other tenants cost a quiet one in the runs of --noisy-neighbour",
            f"{ANALYSIS}.noisy_neighbour"),
    Command("load-effect", UNDERSTAND, "show what a hit saves one user alone and what under load, in runs under several loads",
            f"{ANALYSIS}.load_effect"),
    Command("recovery", UNDERSTAND, "show how long hits, TTFT and throughput took to recover from an event", f"{ANALYSIS}.recovery"),
    Command("dose-response", UNDERSTAND, "show what a cached token saves in runs of dose_response", f"{ANALYSIS}.dose_response"),
    Command("oracle", UNDERSTAND, "compute the hit rate that a cache of each size can reach on a trace", f"{ANALYSIS}.oracle"),
    Command("advise", UNDERSTAND, "predict hit rate, TTFT and cost for each size of each cache tier", f"{ANALYSIS}.advise"),
    Command("ratio", UNDERSTAND, "predict the best split of GPUs into prefillers and decoders, and check it", f"{ANALYSIS}.ratio"),
    Command("export", UNDERSTAND, "export a run as tables, or to OpenTelemetry, MLflow, Weights & Biases", f"{ANALYSIS}.export"),
    Command("upload", UNDERSTAND, "copy the folders of runs to a bucket, e.g. s3://bucket/prefix", "locust_kvcache.cli.upload"),
    Command("merge-spool", UNDERSTAND, "complete a run whose master died from its workers' spools", f"{ANALYSIS}.merge_spool"),
    Command("preflight", SERVERS, "check a deployment: what is missing, and what to do about it", RUN, "preflight"),
    Command("check-configs", SERVERS, "find keys in LMCache, Mooncake and compose files that nothing reads", f"{ANALYSIS}.check_configs"),
    Command("emulator", SERVERS, "start an emulated server whose KV cache is known", "locust_kvcache.emulator.__main__"),
    Command("doctor", SET_UP, "check this machine: cores, limits, clock, kernel stamps, ports, certificate", "locust_kvcache.cli.doctor"),
    Command("config", SET_UP, "show the settings of a run and where each comes from; check a run's YAML file", "locust_kvcache.cli.config"),
    Command("plugins", SET_UP, "list what installed packages add: scenarios, metrics, dialects, report sections, ...",
            "locust_kvcache.cli.plugins"),
    Command("init", SET_UP, "copy scenarios, deployments, locustfiles, compose and dashboards to edit", "locust_kvcache.cli.init"),
    Command("certificate", SET_UP, "measure the timing error of this machine, and up to what load it holds",
            "locust_kvcache.certificate.command"),
)  # fmt: skip


def contents() -> str:
    """What `locust-kvcache` prints."""
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "Does the KV cache of an LLM deployment pay, how much, and why not more?"]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {command.name:<{width}}  {command.about}" for command in COMMANDS if command.group == group]
    return "\n".join(
        [
            *lines,
            "",
            "A first look, without a GPU:",
            f"  {PROGRAM} emulator --port 8000 --time-scale 0.1 &",
            f"  {PROGRAM} run cold_start --headless -u 4 -r 4 --host http://127.0.0.1:8000",
            "",
            f"{PROGRAM} COMMAND --help teaches a command; --version says which version this is.",
            f'Completion in bash and zsh: eval "$(register-python-argcomplete {PROGRAM})"',
        ]
    )


def version_text() -> str:
    return f"{PROGRAM} {__version__} (Locust {version('locust')}, Python {platform.python_version()})"


def find_command(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    names = [command.name for command in COMMANDS]
    close = difflib.get_close_matches(name.replace("_", "-"), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(names)}"
    raise BadInput(f"{name!r} is not a command of {PROGRAM}; {hint}")


def _said(text: str) -> int:
    """0, also where the reader (`| head`) has gone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it once more
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; its exit code."""
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        from locust_kvcache.cli.completion import complete

        complete(command.name for command in COMMANDS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        return _said(contents())
    if given[0] in ("-V", "--version"):
        return _said(version_text())
    return run_command(lambda: find_command(given[0]).run(given[1:]))
