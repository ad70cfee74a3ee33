"""Shows runs with different numbers of users in one table and chart per scenario (`locust-kvcache sweep RUN ...`).

Makes the page of a `--concurrency 1 5 10` run: what cold and hit cost at each level, and where more users stop paying.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from locust_kvcache.analysis.pipeline import open_run
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.report.publish import publish
from locust_kvcache.analysis.report.sweep_page import by_users, sweep_page
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.language import add_language, use_language


def output_folder(runs: list[Path]) -> Path:
    """Beside the runs, named as they are without their level: results/NAME_sweep."""
    first = (runs[0] if runs[0].is_dir() else runs[0].parent).resolve()
    base = re.sub(r"_c\d+$", "", first.name)
    return first.parent / f"{base}_sweep"


def main() -> int:
    parser = command_parser(
        "sweep",
        "Shows times, throughput and hits by the number of users, from the runs of --concurrency.",
        ["results/NAME_c1 results/NAME_c5 results/NAME_c10"],
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder or stats.json of each level's run")
    parser.add_argument("--output-dir", type=Path, help="folder of the report (default: NAME_sweep beside the runs)")
    add_png(parser)
    add_language(parser)
    args = parser.parse_args()
    use_language(args.lang)
    levels = by_users([open_run(path).stats for path in args.runs])
    page = sweep_page(levels)
    folder = args.output_dir or output_folder(args.runs)
    publish(page, folder, args.png)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
