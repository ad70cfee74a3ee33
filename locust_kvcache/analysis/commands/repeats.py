"""Summarises repeated runs of deployments: what holds from one run to the next (`locust-kvcache repeats RUN ...`).

The first run's deployment is the baseline. Two runs of each are enough for an interval, three to five for one worth quoting.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.across_runs import conditions, run_groups, run_spread
from locust_kvcache.analysis.across_runs.run_comparison import KIND_NAMES
from locust_kvcache.analysis.basics.metrics import metric_name
from locust_kvcache.analysis.basics.number_text import DASH, change, number
from locust_kvcache.analysis.basics.plain_values import plain, rows_of
from locust_kvcache.analysis.basics.problems import Problem, sorted_problems
from locust_kvcache.analysis.charts import study_drawing
from locust_kvcache.analysis.charts.figures import Chart, draw
from locust_kvcache.analysis.pipeline import Analysis, open_run
from locust_kvcache.analysis.reading.memory_need import check_all_fit
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report import repeats_answer
from locust_kvcache.analysis.report.caveats import merged
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.comparison_tables import common_start
from locust_kvcache.analysis.report.page import Page, section
from locust_kvcache.analysis.report.policy_tables import policy_table
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.analysis.report.trust import Said, common_trust
from locust_kvcache.analysis.tables import run_tables
from locust_kvcache.analysis.tables.table import Table
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language

RULE = "one value per run (its mean, or its rate); geometric means; Student's 95 % intervals of the runs' logarithms"
SHORT_NAMES = {"ttft_ms": "TTFT, ms", "requests_per_s": "requests/s", "requests_per_s_per_gpu": "requests/s per GPU"}
INTERVALS = "Intervals (95 %) cover the variation from run to run; verdicts are adjusted for all rows of their table (Holm)."
NAMES = {
    "requests_per_s_per_gpu": "Request throughput per GPU, requests/s",
    "cost_per_request": "Cost of a request",
    "cost_per_million_prompt_tokens": "Cost per million prompt tokens",
    "cost_per_million_output_tokens": "Cost per million output tokens",
    "joules_per_request": "Energy of a request, J",
    "joules_per_million_prompt_tokens": "Energy per million prompt tokens, J",
    "joules_per_million_output_tokens": "Energy per million output tokens, J",
}


def check(runs: list[Analysis], accepted: frozenset[str] = frozenset()) -> list[Problem]:
    """What weakens the runs as repetitions of one another; BadInput where they are not of one plan and load, or incomplete."""
    names = [run.run_id for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadInput(f"run {', '.join(sorted(twice))} is given more than once; expected each run once")
    for run in runs:
        if not run.stats["complete"]:
            raise BadInput(
                f"run {run.run_id} is incomplete: an incomplete run cannot be compared as a repetition; leave it out, or --resume it"
            )
    found = conditions.compare_conditions([run.info for run in runs], [run.requests for run in runs], accepted)
    for condition in found:
        if condition.state == conditions.FORBIDS:
            raise BadInput(f"{condition.name} differs between the runs: {' / '.join(dict.fromkeys(condition.values))[:300]}; "
                           f"expected the same plan and load in all, or --accept \"{condition.name}\"")  # fmt: skip
    run_groups.check_arms(runs)
    by_name: dict[str, int] = {}
    for run in runs:
        by_name[run_spread.deployment_of(run)] = by_name.get(run_spread.deployment_of(run), 0) + 1
    return [
        Problem("warning", "one_run", f"There is one run of {name}: so the variation between runs is not known.", "Repeat it.")
        for name, count in by_name.items()
        if count == 1
    ] + [
        Problem("note", "two_runs", f"There are two runs of {name}: the interval is valid, and wide.", "Use three or more.")
        for name, count in by_name.items()
        if count == 2
    ]


def _named(metric: str) -> str:
    return NAMES.get(metric) or metric_name(metric)


def spread_table(table: pd.DataFrame, scenario: str) -> Table:
    rows = tuple(
        (f"{row['deployment']}, round {row['round']}: {_named(row['metric'])}", str(row["runs"]), number(row["mean"]),
         DASH if row["low"] is None else f"[{number(row['low'])}, {number(row['high'])}]",
         f"{number(row['smallest'])} to {number(row['largest'])}")
        for row in rows_of(table[table["scenario"].eq(scenario)])
    )  # fmt: skip
    return Table(f"{scenario}: from run to run", ("", "runs", "mean", "interval", "smallest to largest"), rows, RULE)


def change_table(
    table: pd.DataFrame, scenario: str, title: str, header: tuple[str, str], named: Callable[[str], str] = _named
) -> Table:
    rows = tuple(
        (f"{row['contender_run']}, round {row['round']}: {named(row['metric'])}", number(row["baseline"]),
         number(row["contender"]), change(row), str(row["pairs"]), str(row["verdict"]))
        for row in rows_of(table[table["scenario"].eq(scenario)])
    )  # fmt: skip
    note = (
        "Verdicts are adjusted for all rows (Holm), intervals are not: a row may be undecided although its interval excludes 0 %. "
        "More runs would decide."
    )
    return Table(title, ("", *header, "change [interval]", "runs", "verdict"), rows, RULE, (note,))


def _chart(values: pd.DataFrame, scenario: str) -> Chart:
    """Every run's mean TTFT as a point, rounds apart."""
    mine = values[values["scenario"].eq(scenario) & values["metric"].eq("ttft_ms")]
    said = "; ".join(
        f"{row['deployment']} round {row['round']}: {number(row['mean'])} ms, runs {number(row['smallest'])} to {number(row['largest'])} ms"
        for row in rows_of(run_spread.spread(mine))
    )
    names = list(mine["deployment"].unique())
    points = mine.assign(place=mine["deployment"].map(names.index))
    title = f"{scenario}: mean TTFT of each run, figures are the means"
    return draw(f"repeats-{scenario}", title, said, lambda axes: study_drawing.draw_repeats(axes, points, names))


def judged_targets(runs: list[Analysis]) -> list[dict[str, Any]]:
    """The targets of all deployments, with intervals over runs."""
    values = run_spread.run_values(runs)
    return run_groups.judge_repeated(run_groups.grouped(runs), values)


def targets_of(judged: list[dict[str, Any]]) -> Table | None:
    rows = [{**row, "scenario": f"{row['run']}, {row['scenario']}"} for row in judged]
    return run_tables.targets_table({"targets": rows})


def console_targets(runs: list[Analysis], judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for the console's lines, which name the deployment where there are several."""
    shown = shown_names(runs)
    if len(shown) == 1:
        return judged
    return [{**row, "scenario": ", ".join(filter(None, (row["run"], row["scenario"])))} for row in _renamed(judged, shown)]


def repeats_page(runs: list[Analysis], accepted: frozenset[str] = frozenset()) -> Page:
    """A section for each scenario; the first run's deployment is the baseline."""
    problems = check(runs, accepted)
    shown = shown_names(runs)
    values = run_spread.run_values(runs)
    values = values.assign(deployment=values["deployment"].map(shown))
    baseline = shown[run_spread.deployment_of(runs[0])]
    tables = {"spread": run_spread.spread(values), "against_baseline": run_spread.between(values, baseline),
              "against_round_1": run_spread.within(values)}  # fmt: skip
    names, scenarios = list(values["deployment"].unique()), list(values["scenario"].unique())
    sections = []
    charts = [_chart(values, scenario) for scenario in scenarios]
    for place, scenario in enumerate(scenarios):
        versus = f"{scenario}: against {baseline}"
        blocks = [
            policy_table(runs, scenario, shown),
            change_table(tables["against_round_1"], scenario, f"{scenario}: later rounds against round 1", ("round 1", "later")),
            change_table(tables["against_baseline"], scenario, versus, (baseline, "contender")),
            spread_table(tables["spread"], scenario),
        ]
        sections.append(section(f"Scenario {scenario}", [charts[place] if place else None, *blocks], is_open=True))
    found = [*repeats_answer.standing_out(runs, scenarios, shown), *problems]
    summaries = [repeats_answer.summary_table(runs, tables, scenario, shown) for scenario in scenarios]
    return Page(
        title=f"Repeated runs: {', '.join(names)}",
        subtitle=repeats_answer.subtitle(runs, scenarios, shown, baseline),
        lead=repeats_answer.lead(runs, tables, scenarios, shown),
        details=(),
        answer=section("", [*summaries, targets_of(_renamed(judged_targets(runs), shown))]).blocks,
        problems=(*(plain(vars(problem)) for problem in sorted_problems(found)), *_of_runs(runs, shown)),
        sections=tuple(sections),
        incomplete=False,
        chart=charts[0] if charts else None,
        table=repeats_answer.console_table(summaries[0]) if len(shown) > 1 and len(summaries) == 1 else None,
        trust=common_trust([run.stats for run in runs], own=[Said(INTERVALS)]),
        short=short_tables(runs, tables, scenarios, shown),
    )


def _of_runs(runs: list[Analysis], shown: dict[str, str]) -> tuple[dict[str, Any], ...]:
    """What each run's own page says to read before use, each text once, with the deployments that have it."""
    return merged((shown[run_spread.deployment_of(run)], run.stats["problems"]) for run in runs)


def shown_names(runs: list[Analysis]) -> dict[str, str]:
    """PD and single where one deployment of each kind is repeated; else their own names, without what all begin with."""
    kinds = {run_spread.deployment_of(run): str(run.info.deployment.kind) for run in runs}
    if sorted(kinds.values()) == sorted(KIND_NAMES):
        return {name: KIND_NAMES[kind] for name, kind in kinds.items()}
    start = common_start(list(kinds))
    return {name: name.removeprefix(start) for name in kinds}


def _renamed(judged: list[dict[str, Any]], shown: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of targets with the names that the page shows; `PD / single` names two."""
    return [{**row, "run": " / ".join(shown.get(part, part) for part in row["run"].split(" / "))} for row in judged]


def short_tables(
    runs: list[Analysis], tables: dict[str, pd.DataFrame], names: list[str], shown: dict[str, str]
) -> tuple[Table, ...]:
    """For the console: a row per deployment; of one deployment, later rounds against round 1."""
    if len(shown) > 1:
        return tuple(repeats_answer.console_table(repeats_answer.summary_table(runs, tables, name, shown)) for name in names)
    table = tables["against_round_1"]
    if table.empty:
        return tuple(spread_table(tables["spread"], name) for name in names)
    some = table[table["metric"].isin(["ttft_ms", "requests_per_s_per_gpu", "requests_per_s"])]
    return tuple(
        change_table(some, name, name, ("round 1", "later"), SHORT_NAMES.__getitem__) for name in some["scenario"].unique()
    )


def main() -> int:
    parser = command_parser(
        "repeats",
        "Summarises repeated runs: what holds from one run to the next. The first run's deployment is the baseline.",
        ["results/A1 results/A2 results/A3", "results/A1 results/A2 results/B1 results/B2 --output-dir reports/repeats"],
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run; several of each deployment, the baseline's first"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: repeats beside the first run)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    if len(args.runs) < 2:
        raise BadInput(f"{len(args.runs)} run given; expected 2 or more: locust-kvcache repeats RUN RUN ...")
    check_all_fit(args.runs)
    with unusable_is_bad_input(*args.runs):
        runs = [run_groups.repeated_run(open_run(path)) for path in args.runs]
        page, targets = repeats_page(runs), console_targets(runs, judged_targets(runs))
    publish(page, args.output_dir or folder_beside(args.runs[0], "repeats"), args.png, targets)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
