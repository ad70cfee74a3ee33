"""python -m analysis.export RUN --output-dir x --format csv|parquet|both: tidy tables of a run, one file each, and the servers' series.

records: one row per request with its windows; rounds, windows, distributions, effects ...: the tables of stats.json; server_metrics:
one row per scrape and sample. Units stand in the column names; docs/metrics.md defines them.
"""

import sys

from locust_kvcache.analysis.commands.export import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
