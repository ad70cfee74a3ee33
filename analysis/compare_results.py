"""python -m analysis.compare_results RUN_A RUN_B [RUN_C ...] --output comparison.html [--gate]: the first run is the baseline.

Or with --pd-stats A/stats.json --non-pd-stats B/stats.json: the single server is the baseline, PD the contender.
"""

import sys

from locust_kvcache.analysis.commands.compare_results import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
