"""Completes the records of a run whose master died, from the spools of its workers.

python -m analysis.merge_spool RUN SPOOL...      SPOOL: a worker's .jsonl file, or a folder of them
"""

import sys

from locust_kvcache.analysis.commands.merge_spool import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
