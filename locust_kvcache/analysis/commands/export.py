"""Exports a run (`locust-kvcache export RUN`): tables as CSV or Parquet, OpenTelemetry, MLflow, Weights & Biases.

records: one row per request with its windows; rounds, windows, distributions, effects ...: the tables of stats.json; server_metrics:
one row per scrape and sample. Units stand in the column names; docs/metrics.md defines them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from locust_kvcache.analysis.exports.table_files import FORMATS, write_table
from locust_kvcache.analysis.pipeline import Analysis, analyse_folder
from locust_kvcache.analysis.reading.scrapes import read_scrapes
from locust_kvcache.analysis.reading.stats_file import TABLES
from locust_kvcache.analysis.report.command_line import add_png
from locust_kvcache.analysis.servers import server_counters
from locust_kvcache.contract.command import command_parser, run_command
from locust_kvcache.contract.errors import BadInput

TABLE_FILES = "tables"
TARGETS = (TABLE_FILES, "otlp", "mlflow", "wandb")


def tables(analysis: Analysis, folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """(name, table) of everything that can be exported; what is empty is left out."""
    yield "records", analysis.requests
    for name in TABLES:
        yield name, flat(analysis.table(name))
    yield "server_metrics", server_counters.series(read_scrapes(folder / "server_metrics.jsonl")[0])


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of dicts as JSON text, as neither CSV nor Parquet readers agree on anything else."""
    nested = [name for name in table if table[name].map(lambda value: isinstance(value, dict | list)).any()]
    return table.assign(**{str(name): table[name].map(json.dumps) for name in nested})


def write_gauge_charts(analysis: Analysis, folder: Path, png: bool) -> list[Path]:
    from locust_kvcache.analysis.charts.detail_charts import gauge_charts  # matplotlib only where something is drawn
    from locust_kvcache.analysis.report.files import write_charts

    return write_charts(gauge_charts(analysis), folder / "charts", png)


def parse_arguments() -> argparse.Namespace:
    parser = command_parser(
        "export",
        "Writes a run as tidy tables, one file each, and the servers' metrics over time; or hands it on to OpenTelemetry, MLflow or "
        "Weights & Biases (docs/exports.md).",
        [
            "results/NAME --output-dir tables",
            "results/NAME --output-dir tables --format both --charts",
            "results/NAME --to otlp --endpoint http://127.0.0.1:4318",
            "results/NAME --to mlflow --tracking-uri sqlite:///mlflow.db",
            "results/NAME --to wandb --project kv-cache",
        ],
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--to", choices=TARGETS, default=TABLE_FILES, help="what to export to (default: tables, as files)")
    parser.add_argument(
        "--output-dir", type=Path, help="folder for the tables; with --to otlp: write files there instead of sending them"
    )
    parser.add_argument("--format", choices=(*FORMATS, "both"), default="csv", help="file format of the tables (default: csv)")
    parser.add_argument("--charts", action="store_true", help="also draw the servers' metrics over time")
    add_png(parser)
    parser.add_argument("--endpoint", default="", metavar="URL",
                        help="with --to otlp: address of the collector, http://HOST:4318 (default: "
                             "OTEL_EXPORTER_OTLP_ENDPOINT)")  # fmt: skip
    parser.add_argument(
        "--tracking-uri", default="", metavar="URI", help="with --to mlflow: its server or store (default: MLFLOW_TRACKING_URI)"
    )
    parser.add_argument("--project", default="", metavar="NAME",
                        help="experiment in MLflow, or project in Weights & Biases (default: locust-kvcache)")  # fmt: skip
    args = parser.parse_args()
    if args.to == TABLE_FILES and args.output_dir is None:
        parser.error("the following arguments are required: --output-dir")
    return args


def write_tables(args: argparse.Namespace, analysis: Analysis) -> list[Path]:
    formats = FORMATS if args.format == "both" else (args.format,)
    written = [
        path
        for name, table in tables(analysis, args.run)
        if len(table)
        for path in write_table(name, table, args.output_dir, formats)
    ]
    return written + (write_gauge_charts(analysis, args.output_dir, args.png) if args.charts else [])


def hand_on(args: argparse.Namespace, analysis: Analysis) -> str:
    """To OpenTelemetry or a tracker; a sentence on what was handed on, and where to."""
    from locust_kvcache.analysis.exports.trackers import export_mlflow, export_wandb

    if args.to == "mlflow":
        return export_mlflow(analysis, args.tracking_uri, args.project)
    if args.to == "wandb":
        return export_wandb(analysis, str(args.output_dir) if args.output_dir else None, args.project)
    from locust_kvcache.analysis.exports.otlp import export_otlp
    from locust_kvcache.analysis.exports.otlp_json import Endpoint, Files, headers_of_environment

    endpoint = args.endpoint or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if args.output_dir and args.endpoint:
        raise BadInput("--endpoint and --output-dir both say where to; give one")
    if not args.output_dir and not endpoint:
        raise BadInput("--to otlp: give --endpoint http://HOST:4318, or --output-dir DIR for files")
    to = Files(args.output_dir) if args.output_dir else Endpoint(endpoint, headers_of_environment())
    return f"{export_otlp(analysis, to)} to {to}"


def main() -> int:
    args = parse_arguments()
    analysis = analyse_folder(args.run)
    try:
        if args.output_dir:
            args.output_dir.mkdir(parents=True, exist_ok=True)
        if args.to == TABLE_FILES:
            print("\n".join(map(str, write_tables(args, analysis))))
        else:
            print(hand_on(args, analysis))
    except OSError as error:
        raise BadInput(f"--output-dir: {args.output_dir} cannot be written: {error.strerror}; choose another folder") from error
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
