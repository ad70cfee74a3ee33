"""python -m analysis.generate_report --stats results/RUN/stats.json --output-dir reports/x --format html|markdown|both"""

import sys

from locust_kvcache.analysis.commands.generate_report import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
