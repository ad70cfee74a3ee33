"""Compares runs (`locust-kvcache compare RUN_A RUN_B ... --output comparison.html`); the first run is the baseline.

Or with --pd-stats A/stats.json --non-pd-stats B/stats.json: the single server is the baseline, PD the contender.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from locust_kvcache.analysis.across_runs import run_groups, run_spread
from locust_kvcache.analysis.across_runs.conditions import accepted_conditions
from locust_kvcache.analysis.across_runs.run_comparison import MAX_RUNS, compare_runs
from locust_kvcache.analysis.basics.number_text import plural
from locust_kvcache.analysis.basics.plain_values import rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.commands.repeats import console_targets, judged_targets, repeats_page, targets_of
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report import ci
from locust_kvcache.analysis.report.ci import Outcome
from locust_kvcache.analysis.report.command_line import comparison_gate, gate
from locust_kvcache.analysis.report.comparison_charts import scenarios_of
from locust_kvcache.analysis.report.comparison_page import comparison_outcome, comparison_page
from locust_kvcache.analysis.report.files import render_html, render_markdown
from locust_kvcache.analysis.report.page import Page
from locust_kvcache.analysis.report.publish import page_text
from locust_kvcache.analysis.tables.console_lines import where
from locust_kvcache.analysis.tables.run_tables import ONE_RUN_MARKS
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import OF_REPORTS
from locust_kvcache.contract.language import add_language, told, use_language

SINGLE_RUNS = Problem(
    "warning",
    "single_runs_accepted",
    "Single runs were accepted (--accept-single-runs): this gate judges one run of a deployment; another run may give another result.",
    "Give 3 or more runs of each deployment.",
)


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "compare",
        "Compares deployments. With one run of each, the differences are shown without a verdict; give three or more runs of each for a "
        "verdict. The deployment of the first run is the baseline.",
        [
            "results/A1 results/A2 results/A3 results/B1 results/B2 results/B3 --output comparison.html --gate",
            "results/BEFORE results/AFTER --output comparison.html",
            "--pd-stats results/PD/stats.json --non-pd-stats results/SINGLE/stats.json --output comparison.html",
        ],
        OF_REPORTS,
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="folder or stats.json of a run; the first is the baseline"
    )
    parser.add_argument(
        "--pd-stats", nargs="+", type=Path, metavar="STATS", help="runs of the PD deployment: stats.json or folders"
    )
    parser.add_argument("--non-pd-stats", nargs="+", type=Path, metavar="STATS", help="the same of the single server's runs")
    parser.add_argument("--output", type=Path, help="write the comparison into this file: .html or .md (default: no file)")
    parser.add_argument("--gate", action="store_true", help="exit with the code of the most severe cause, see below")
    parser.add_argument(
        "--accept", default="", metavar="CONDITIONS", help="differences to accept, as the page names them: users,model"
    )
    parser.add_argument("--accept-single-runs", action="store_true", help="with --gate: let one run of each deployment decide")
    add_language(parser)
    ci.add_arguments(parser)
    return parser.parse_args()


def chosen_paths(args: argparse.Namespace) -> list[Path]:
    """Two runs or more, from one of the two ways to name them; the baseline's first."""
    pair = [args.non_pd_stats, args.pd_stats]
    if any(pair) and (None in pair or args.runs):
        raise BadInput("give --pd-stats and --non-pd-stats together and no other run, or RUN folders alone")
    paths = [*args.non_pd_stats, *args.pd_stats] if all(pair) else list(args.runs)
    if len(paths) < 2:
        raise BadInput(
            f"{plural(len(paths), 'run')} given; expected 2 or more: compare RUN_A RUN_B, or A1 A2 A3 B1 B2 B3, or --pd-stats A "
            "--non-pd-stats B"
        )
    return paths


def write_output(path: Path, page: Page) -> None:
    text = render_markdown(page) if path.suffix == ".md" else render_html(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--output: {path} cannot be written: {error.strerror}; choose another file") from error


def described(runs: list[Analysis], accepted: frozenset[str], gated: bool) -> tuple[str, Page, Outcome]:
    """One run of each: what these runs measured, beside one another."""
    if len(runs) > MAX_RUNS:
        raise BadInput(
            f"{len(runs)} runs given; expected one run of each of 2 to {MAX_RUNS} deployments, or several runs of each"
        )
    found = compare_runs(runs, accepted)
    if gated:
        found = replace(found, problems=(SINGLE_RUNS, *found.problems))
    stats = {name: run.stats for name, run in zip(found.names, found.runs, strict=True)}
    cause = comparison_gate(stats, list(found.targets), found.comparable)
    page = comparison_page(found)
    targets = [
        {**row, "scenario": row["run"] if len(scenarios_of(found)) == 1 else f"{row['run']}, {row['scenario']}"}
        for row in found.targets
    ]
    return page_text(page, targets, ONE_RUN_MARKS), page, comparison_outcome(found, cause)


def repeated(runs: list[Analysis], accepted: frozenset[str], gated: bool) -> tuple[str, Page, Outcome]:
    """Several runs of a deployment: what holds from one run to the next."""
    page, judged = repeats_page(runs, accepted), judged_targets(runs)
    if gated:
        page = replace(page, problems=(SINGLE_RUNS.to_dict(), *page.problems))
    values = run_spread.run_values(runs)
    verdicts = rows_of(run_spread.between(values, run_spread.deployment_of(runs[0])))
    table = targets_of(judged)
    cause = gate([run.stats for run in runs], judged)
    outcome = Outcome(page.title, cause, page.lead, tuple(judged), page.problems, tuple(verdicts), (table,) if table else ())
    return page_text(page, console_targets(runs, judged)), page, outcome


def main() -> int:
    args = parse_arguments()
    use_language(args.lang)
    if args.output and args.output.suffix not in (".html", ".md"):
        raise BadInput(f"--output: {args.output} ends in {args.output.suffix!r}; allowed: .html, .md")
    accepted = accepted_conditions(args.accept)
    paths = chosen_paths(args)
    with unusable_is_bad_input(*paths):
        runs = run_groups.opened(paths)
        groups = run_groups.grouped(runs)
        if args.gate:
            run_groups.check_gate(groups, args.accept_single_runs)
        compare = repeated if run_groups.are_repeated(groups) else described
        text, page, outcome = compare(runs, accepted, args.gate and args.accept_single_runs)
    print(text)
    written = ci.write_files(args, outcome)
    if args.output:
        write_output(args.output, page)
        written.insert(0, args.output)
    if written:
        print(where(written))
    if not args.output:
        print("\n" + told("No report was written. Add --output comparison.html to write one."))
    return outcome.cause.code if args.gate else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
