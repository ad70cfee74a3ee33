"""Exports the tables of a run as CSV or Parquet (`locust-kvcache export RUN --output-dir x`).

records: one row per request with its windows; rounds, windows, distributions, effects ...: the tables of stats.json; server_metrics:
one row per scrape and sample. Units stand in the column names; docs/metrics.md defines them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.reading.runs import load_run
from locust_kvcache.analysis.reading.stats_file import TABLES
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.servers import server_counters
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput

FORMATS = ("csv", "parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def tables(analysis: Analysis, folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """(name, table) of everything that can be exported; what is empty is left out."""
    yield "records", analysis.requests
    for name in TABLES:
        yield name, flat(analysis.table(name))
    yield "server_metrics", server_counters.series(load_run(folder).server_metrics)


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of dicts as JSON text, as neither CSV nor Parquet readers agree on anything else."""
    nested = [name for name in table if table[name].map(lambda value: isinstance(value, dict | list)).any()]
    return table.assign(**{str(name): table[name].map(json.dumps) for name in nested})


def plain_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Texts that a spreadsheet would take for a formula begin with an apostrophe: some of them are a server's own words."""

    def plain(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{str(name): table[name].astype(object).map(plain) for name in texts})


def write_table(name: str, table: pd.DataFrame, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    written = []
    for kind in formats:
        path = folder / f"{name}.{kind}"
        if kind == "csv":
            plain_cells(table).to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
        written.append(path)
    return written


def write_gauge_charts(analysis: Analysis, folder: Path, png: bool) -> list[Path]:
    from locust_kvcache.analysis.charts.detail_charts import gauge_charts  # matplotlib only where something is drawn
    from locust_kvcache.analysis.report.files import write_charts

    return write_charts(gauge_charts(analysis), folder / "charts", png)


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "export",
        "Writes a run as tidy tables, one file each, and the servers' metrics over time.",
        ["results/NAME --output-dir tables", "results/NAME --output-dir tables --format both --charts"],
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--format", choices=(*FORMATS, "both"), default="csv")
    parser.add_argument("--charts", action="store_true", help="also draw the servers' metrics over time")
    add_png(parser)
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    analysis = analyse_folder(args.run)
    formats = FORMATS if args.format == "both" else (args.format,)
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        written = [
            path
            for name, table in tables(analysis, args.run)
            if len(table)
            for path in write_table(name, table, args.output_dir, formats)
        ]
        written += write_gauge_charts(analysis, args.output_dir, args.png) if args.charts else []
    except OSError as error:
        raise BadInput(f"--output-dir: {args.output_dir} cannot be written: {error.strerror}; choose another folder") from error
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
