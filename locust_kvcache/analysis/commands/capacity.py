"""Finds the highest sustained load in the runs of a --capacity search (`locust-kvcache capacity RUN ...`).

Every step is judged again from its records, by the rules of the search itself (contract/capacity_rule.py); --slo asks for other limits.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from locust_kvcache.analysis.report.capacity_page import capacity_page
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.publish import folder_beside, publish
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.language import add_language, use_language
from locust_kvcache.contract.slo import parse_slo


def main() -> int:
    parser = command_parser(
        "capacity",
        "Judges the steps of a --capacity search again from their records: the highest sustained rate of each side, with its interval.",
        ["results/NAME_cold results/NAME_hit", "results/NAME_cold --slo ttft_ms=1000"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of the runs of one --capacity search")
    parser.add_argument(
        "--slo",
        nargs="+",
        default=[],
        metavar="NAME=MS",
        help="objectives in ms: ttft_ms=2000 tpot_ms=50 (default: those of the search)",
    )
    parser.add_argument(
        "--share", type=float, default=0.9, metavar="Q", help="share of the requests that must meet each objective (default: 0.9)"
    )
    parser.add_argument("--output-dir", type=Path, help="folder of the page (default: NAME_capacity beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    page = capacity_page(args.runs, parse_slo(args.slo), args.share)
    base = re.sub(r"_(cold|hit)(_\w+)?$", "", args.runs[0].resolve().name)
    publish(page, args.output_dir or folder_beside(args.runs[0], f"{base}_capacity"), args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
