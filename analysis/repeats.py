"""Summarises repeated runs of deployments: python -m analysis.repeats RUN [RUN ...]

The first run's deployment is the baseline. Two runs of each are enough for an interval, three to five for one worth quoting.
"""

import sys

from locust_kvcache.analysis.commands.repeats import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
