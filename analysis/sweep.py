"""Shows runs with different numbers of users in one table and chart: python -m analysis.sweep RUN [RUN ...]

Makes the page of a `--concurrency 1 5 10` run: what cold and hit cost at each level, and where more users stop paying.
"""

import sys

from locust_kvcache.analysis.commands.sweep import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
