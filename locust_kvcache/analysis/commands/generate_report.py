"""Makes a report from a stats.json (`locust-kvcache report --stats results/RUN/stats.json --output-dir reports/x`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from locust_kvcache.analysis.pipeline import open_stats
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.files import FORMATS, write_report
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.language import add_language, use_language


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "report",
        "Makes the report of a run again from its stats.json.",
        ["--stats results/NAME/stats.json --output-dir reports/NAME --format both --generate-charts"],
    )
    parser.add_argument(
        "--stats", type=Path, required=True, help="stats.json of a run (records.jsonl beside it is used if present)"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for report.html, report.md and charts/")
    parser.add_argument("--format", choices=("html", "markdown", "both"), default="both")
    parser.add_argument("--generate-charts", action="store_true", help="draw the charts, into the report and as SVG files")
    add_png(parser)
    add_language(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    use_language(args.lang)
    analysis = open_stats(args.stats)
    formats = FORMATS if args.format == "both" else (args.format,)
    try:
        with unusable_is_bad_input(args.stats):
            written = write_report(analysis, args.output_dir, formats, args.generate_charts, args.png)
    except OSError as error:
        raise BadInput(f"--output-dir: {args.output_dir} cannot be written: {error.strerror}; choose another folder") from error
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
