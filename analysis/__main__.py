"""python -m analysis RUN_DIR [RUN_DIR2 ...]: checks and analyses runs, writes stats.json and the report, prints the tables."""

import sys

from locust_kvcache.analysis.__main__ import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
