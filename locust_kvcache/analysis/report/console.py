"""What the commands share: exit codes, one way to end on bad input, the console text of a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from locust_kvcache.analysis.stats.targets import FAIL
from locust_kvcache.analysis.tables import arm_tables as arm_views
from locust_kvcache.analysis.tables import detail_tables as detail_views
from locust_kvcache.analysis.tables import ideal_cache_tables as efficiency_views
from locust_kvcache.analysis.tables import run_tables as views
from locust_kvcache.analysis.tables import stage_tables as stage_views
from locust_kvcache.analysis.tables import text_tables
from locust_kvcache.contract.errors import BadInput

EXIT_PASS = 0
EXIT_GATE_FAILED = 1
EXIT_NOT_COMPARABLE = 2
EXIT_BAD_INPUT = 3


def run_command(main: Callable[[], int]) -> int:
    """The exit code of a command; bad input becomes one line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console without UTF-8 must not end a run
    try:
        return main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # `| head`: nobody reads on, which is no error
        return EXIT_PASS


def gate(stats_list: list[dict[str, Any]], targets: list[dict[str, Any]]) -> int:
    """0 pass, 1 a target failed, 2 a run is incomplete, so that its targets prove nothing."""
    if not all(stats["complete"] for stats in stats_list):
        return EXIT_NOT_COMPARABLE
    return EXIT_GATE_FAILED if any(target["verdict"] == FAIL for target in targets) else EXIT_PASS


def run_text(stats: dict[str, Any]) -> str:
    """What the console shows of one run: what stands against it first, then rounds, comparison, targets."""
    blocks = [views.run_line(stats), problems_text(stats)]
    for scenario in views.scenarios(stats):
        blocks.append(text_tables.console(views.round_table(stats, scenario)))
        for row in views.find(stats["rounds"], scenario=scenario):
            title = (
                f"{scenario}, round {row['round']} ({'cold' if row['round'] == 1 else 'hit'}): times of the successful requests"
            )
            table = views.distribution_table(stats, scenario, "round", str(row["round"]), title)
            blocks.append(text_tables.console(table))
        blocks.append(text_tables.console(views.window_table(stats, scenario)))
        blocks.append(text_tables.console(detail_views.cache_table(stats, scenario)))
        if ideal := efficiency_views.ideal_table(stats, scenario):
            blocks.append(text_tables.console(ideal))
        blocks += [text_tables.console(make(stats, scenario)) for make in (stage_views.gain_table, stage_views.parts_table)]
        blocks += [text_tables.console(views.answer_table(stats, scenario, split)) for split in ("round", "evidence")]
        if stats["run"].get("arms"):
            blocks += [text_tables.console(make(stats, scenario)) for make in (arm_views.arm_table, arm_views.rate_table)]
    blocks.append(text_tables.console(detail_views.model_table(stats)))
    blocks.append(text_tables.console(arm_views.verdict_table(stats)))
    blocks.append(text_tables.console(detail_views.goodput_table(stats)))
    targets = views.targets_table(stats)
    blocks += [text_tables.console(targets) if targets else "", *_last_words(stats)]
    return "\n\n".join(block for block in blocks if block)


def _last_words(stats: dict[str, Any]) -> list[str]:
    if stats["run"].get("arms"):
        return [arm_views.headline(stats)]
    return ["\n".join(views.details(stats)), views.headline(stats)]


def problems_text(stats: dict[str, Any]) -> str:
    lines = [f"  {row['severity']}: {row['text']} {row['what_to_do']}".rstrip() for row in stats["problems"]]
    return "\n".join(["What stands against these figures:", *lines]) if lines else ""
