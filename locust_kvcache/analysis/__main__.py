"""locust-kvcache report RUN_DIR [RUN_DIR2 ...]: checks and analyses runs, writes stats.json and the report, prints the tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from locust_kvcache.analysis.pipeline import analyse_folder
from locust_kvcache.analysis.reading.stats_file import write_stats
from locust_kvcache.analysis.report import ci
from locust_kvcache.analysis.report.command_line import gate
from locust_kvcache.analysis.report.run_text import run_text
from locust_kvcache.analysis.stats.targets import RUN_TARGETS
from locust_kvcache.analysis.tables.table import run_of
from locust_kvcache.contract import failure_limit
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import OK, Exit
from locust_kvcache.contract.failure_limit import FailureLimit, parse_failure_limit
from locust_kvcache.contract.slo import parse_slo


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "report",
        "Checks and analyses runs, prints their tables, writes stats.json and the report into each run's folder.",
        [
            "results/NAME",
            "results/NAME --gate --junit gate.xml",
            "--stats results/NAME/stats.json --output-dir reports/NAME --generate-charts     (elsewhere, from stats.json)",
        ],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run, e.g. results/NAME")
    parser.add_argument("--no-report", action="store_true", help="write stats.json only")
    parser.add_argument("--gate", action="store_true", help="end with the exit code of the gravest cause, see below")
    parser.add_argument("--max-failures", metavar="N", help=failure_limit.HELP)
    parser.add_argument(
        "--slo",
        nargs="+",
        default=[],
        metavar="NAME=MS",
        help="limits for the goodput: ttft_ms=2000 tpot_ms=50 e2e_ms=... (default: the deployment's)",
    )
    ci.add_arguments(parser)
    return parser.parse_args()


def analyse_one(folder: Path, report: bool, slo: dict[str, float], max_failures: FailureLimit | None) -> dict[str, Any]:
    """Write stats.json and the report of one run, print its tables, return its statistics."""
    analysis = analyse_folder(folder, slo, max_failures)
    files = [folder / "stats.json"]
    try:
        write_stats(files[0], analysis.stats)
        if report:
            from locust_kvcache.analysis.report.files import (
                write_report,  # matplotlib takes a second to import: only where it draws
            )

            files += write_report(analysis, folder / "report", ("html", "markdown"), charts=True)
    except OSError as error:
        raise BadInput(
            f"{error.filename or folder}: cannot be written: {error.strerror}. Check the folder's permissions."
        ) from error
    print(run_text(analysis.stats))
    print("\nFiles\n" + "\n".join(f"  {path}" for path in files if path.suffix in (".json", ".html", ".md")), flush=True)
    return analysis.stats


def main() -> int:
    args = parse_arguments()
    limit = None if args.max_failures is None else parse_failure_limit(args.max_failures)
    all_stats = []
    for number, folder in enumerate(args.runs):
        if number:
            print("\n" + "=" * 100 + "\n")
        all_stats.append(analyse_one(folder, not args.no_report, parse_slo(args.slo), limit))
    cause = gate(all_stats, [row for stats in all_stats for row in stats["targets"] if row["target"] in RUN_TARGETS])
    if args.junit or args.json or args.summary:
        if len(all_stats) > 1:
            raise BadInput(
                "--junit, --json and --summary describe one run; give one RUN_DIR, or compare runs with compare_results"
            )
        print("\n".join(f"  {path}" for path in ci.write_files(args, ci.run_outcome(all_stats[0], cause))))
    if args.gate:
        if cause is not OK:
            print(f"exit code {cause.code:d}: {cause.text}")
        return cause.code
    contradicts = any(run_of(stats).complete and not stats["records_complete"] for stats in all_stats)
    return Exit.NOT_JUDGED if contradicts else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
