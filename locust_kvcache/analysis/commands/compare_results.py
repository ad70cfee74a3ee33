"""locust-kvcache compare RUN_A RUN_B [RUN_C ...] --output comparison.html [--gate]: the first run is the baseline.

Or with --pd-stats A/stats.json --non-pd-stats B/stats.json: the single server is the baseline, PD the contender.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from locust_kvcache.analysis.across_runs.run_comparison import MAX_RUNS, RunComparison, compare_runs
from locust_kvcache.analysis.pipeline import open_run
from locust_kvcache.analysis.report import ci
from locust_kvcache.analysis.report.command_line import comparison_gate
from locust_kvcache.analysis.report.comparison_page import comparison_outcome, comparison_page, comparison_text
from locust_kvcache.analysis.report.files import render_html, render_markdown
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "compare",
        "Compares runs: tables, targets and, with --output, a page with charts. The first run is the baseline.",
        [
            "results/BEFORE results/AFTER --output comparison.html",
            "--pd-stats results/PD/stats.json --non-pd-stats results/SINGLE/stats.json --output comparison.html --gate",
        ],
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="folder or stats.json of a run; the first is the baseline"
    )
    parser.add_argument("--pd-stats", type=Path, help="stats.json of the PD-disaggregated run")
    parser.add_argument("--non-pd-stats", type=Path, help="stats.json of the single server's run")
    parser.add_argument("--output", type=Path, help="report to write: .html or .md")
    parser.add_argument("--gate", action="store_true", help="end with the exit code of the gravest cause, see below")
    parser.add_argument("--accept", default="", metavar="NAMES", help="differences to accept, e.g. users,model (comma-separated)")
    ci.add_arguments(parser)
    return parser.parse_args()


def chosen_paths(args: argparse.Namespace) -> list[Path]:
    """Two to eight runs, from one of the two ways to name them."""
    pair = [args.non_pd_stats, args.pd_stats]
    if any(pair) and (None in pair or args.runs):
        raise BadInput("give --pd-stats and --non-pd-stats together and no other run, or RUN folders alone")
    paths = pair if all(pair) else list(args.runs)
    if not 2 <= len(paths) <= MAX_RUNS:
        raise BadInput(
            f"{len(paths)} runs given; expected 2 to {MAX_RUNS}: compare_results RUN_A RUN_B, or --pd-stats A --non-pd-stats B"
        )
    return paths


def write_output(path: Path, found: RunComparison) -> None:
    page = comparison_page(found)
    text = render_markdown(page) if path.suffix == ".md" else render_html(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--output: {path} cannot be written: {error.strerror}; choose another file") from error


def main() -> int:
    args = parse_arguments()
    if args.output and args.output.suffix not in (".html", ".md"):
        raise BadInput(f"--output: {args.output} ends in {args.output.suffix!r}; allowed: .html, .md")
    accepted = frozenset(name.strip() for name in args.accept.split(",") if name.strip())
    found = compare_runs([open_run(path) for path in chosen_paths(args)], accepted)
    stats = {name: run.stats for name, run in zip(found.names, found.runs, strict=True)}
    cause = comparison_gate(stats, list(found.targets), found.comparable)
    print(comparison_text(found))
    written = ci.write_files(args, comparison_outcome(found, cause))
    if args.output:
        write_output(args.output, found)
        written.insert(0, args.output)
    if written:
        print("\nFiles\n" + "\n".join(f"  {path}" for path in written))
    return cause.code if args.gate else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
