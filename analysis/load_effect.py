"""Shows what the cache gives and what the way of loading gives: python -m analysis.load_effect RUN ..."""

import sys

from locust_kvcache.analysis.commands.load_effect import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
