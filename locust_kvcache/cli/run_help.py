"""Makes the text of `locust-kvcache run --help`: our options in groups.

Locust's own --help cannot show them: it is answered before a locustfile is read.
"""

from __future__ import annotations

import textwrap

from locust_kvcache.contract.command import PROGRAM
from locust_kvcache.loadgen.options.declared import OPTIONS
from locust_kvcache.loadgen.options.option import GROUPS, Option
from locust_kvcache.workload.scenario_file import available_scenarios

WIDTH = 110
HANGING = 34
LOCUST_OPTIONS = (
    ("-H, --host URL", "the server; in place of the deployment's endpoint"),
    ("-u, --users N", "users: number of sessions at a time"),
    ("-r, --spawn-rate N", "users started per second"),
    ("--headless", "no web page: the run starts at once and ends by itself"),
    ("-f, --locustfile FILE", "a locustfile of your own, with a class on `from locust_kvcache import KVCacheUser`"),
    ("--processes N", "number of worker processes on this host; -1: one per core"),
    ("--master, --worker", "one of several hosts; --expect-workers N, --master-host HOST (docs/distributed.md)"),
    ("--config FILE", "options from a YAML file (docs/configuration.md), or from one of Locust's (.conf, .toml)"),
)


def _entry(left: str, text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - HANGING)
    head = f"  {left}"
    if len(head) > HANGING - 2:
        return [head, *(" " * HANGING + line for line in lines)]
    return [head.ljust(HANGING) + lines[0], *(" " * HANGING + line for line in lines[1:])]


def _options(group: str) -> list[str]:
    return [line for option in OPTIONS if option.group == group for line in _option(option)]


def _option(option: Option) -> list[str]:
    return _entry(option.usage, f"{option.help} (default: {option.default_text})")


def run_help() -> str:
    lines = [
        f"usage: {PROGRAM} run SCENARIO ... [options]",
        "",
        *textwrap.wrap(
            f"Runs scenarios one after another, each in rounds: round 1 is cold, later rounds repeat its requests. A SCENARIO is a name "
            f"({', '.join(available_scenarios())}) or a YAML file. Each run leaves a folder in results/ with its report.",
            WIDTH,
        ),
        "",
        "examples:",
        f"  {PROGRAM} run long_context_high_reuse --headless -u 10 -r 10 --host http://127.0.0.1:8000",
        f"  {PROGRAM} run cold_start mine.yaml --headless -u 10 -r 10 --deployment pd_disagg --rounds 3",
        f"  {PROGRAM} run cold_start -u 10 -r 10 --host http://127.0.0.1:8000      with Locust's web page, http://localhost:8089",
        f"  {PROGRAM} run -f my_locustfile.py --headless -u 10 --host http://127.0.0.1:8000",
        f"  {PROGRAM} run cold_start --headless --master --expect-workers 2 -u 200 -r 50 --deployment pd_disagg",
        f"  {PROGRAM} run --worker --master-host HOST --processes -1               on each of the other hosts",
    ]
    for group in GROUPS:
        lines += ["", f"{group}:", *_options(group)]
    lines += ["", "Of Locust's own options, which all work (the whole list: locust --help):"]
    lines += [line for left, text in LOCUST_OPTIONS for line in _entry(left, text)]
    lines += [
        "",
        "Each of our options is also an environment variable and a key of Locust's configuration files: docs/options.md",
    ]
    return "\n".join(lines)


PREFLIGHT_HELP = f"""usage: {PROGRAM} preflight [SCENARIO ...] (--host URL | --deployment FILE) [options of `run`]

Looks at a deployment before anything is measured: is it up, does it serve the model, does it report cached tokens, do its metrics pages
answer, can its caches be emptied, does the working set of the scenarios fit. Says what is missing, why it matters, and what to do.
It tries the actions of the deployment's `caches`: they empty its caches. With --gate a warning is exit code 1.

examples:
  {PROGRAM} preflight --host http://127.0.0.1:8000
  {PROGRAM} preflight --deployment pd_disagg --gate"""
DRY_RUN_HELP = f"""usage: {PROGRAM} dry-run [SCENARIO ...] [options of `run`]

Sends nothing: prints the requests and tokens of each round, the expected duration, what the prompts need of each cache tier, and the cost.

examples:
  {PROGRAM} dry-run long_context_high_reuse -u 10 --deployment pd_disagg
  {PROGRAM} dry-run cold_start -u 10 --expect cold_ttft_ms=1200 tpot_ms=20 --gpu-hour-price 2.5
  {PROGRAM} dry-run cold_start -u 10 --expect-from results/RUN --concurrency 1 5 10"""
