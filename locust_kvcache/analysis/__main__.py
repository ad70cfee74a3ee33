"""Analyses runs (`locust-kvcache report RUN_DIR ...`): checks them, writes stats.json and the report, prints the tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from locust_kvcache.analysis.commands import one_run
from locust_kvcache.analysis.report import ci
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.contract import failure_limit
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import OF_REPORTS, OK
from locust_kvcache.contract.failure_limit import parse_failure_limit
from locust_kvcache.contract.language import add_language, told, use_language
from locust_kvcache.contract.slo import parse_slo


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "report",
        "Analyses runs: checks the records, prints the answer, and writes stats.json and the report into each run's folder.",
        [
            "results/NAME",
            "results/NAME --gate --junit gate.xml",
            "--stats results/NAME/stats.json --output-dir reports/NAME --generate-charts     (elsewhere, from stats.json)",
        ],
        OF_REPORTS,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run, e.g. results/NAME")
    parser.add_argument("--no-report", action="store_true", help="write stats.json only")
    add_png(parser)
    add_language(parser)
    parser.add_argument("--gate", action="store_true", help="exit with the code of the most severe cause, see below")
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


def main() -> int:
    args = parse_arguments()
    use_language(args.lang)
    limit = None if args.max_failures is None else parse_failure_limit(args.max_failures)
    all_stats = []
    for number, folder in enumerate(args.runs):
        if number:
            print("\n" + "=" * 100 + "\n")
        analysis = one_run.write_answer(folder, parse_slo(args.slo), limit)
        one_run.print_files(folder, [] if args.no_report else one_run.write_report_files(analysis, folder, args.png))
        all_stats.append(analysis.stats)
    cause = one_run.gate_cause(all_stats)
    if args.junit or args.json or args.summary:
        if len(all_stats) > 1:
            raise BadInput(
                "--junit, --json and --summary describe one run; give one RUN_DIR, or compare runs with compare_results"
            )
        print("\n".join(f"  {path}" for path in ci.write_files(args, ci.run_outcome(all_stats[0], cause))))
    if args.gate:
        if cause is not OK:
            print(told(f"exit code {cause.code:d}: {cause.text}"))
        return cause.code
    return one_run.plain_code(all_stats)


if __name__ == "__main__":
    sys.exit(run_command(main))
