"""python -m analysis.working_set RUN [RUN ...]: runs of a --working-set sweep come in, where each tier stops holding goes out.

A tier's hit rate is the share of round 2's prompt tokens that it or a faster tier answered, by the servers' counters, else as reported.
"""

import sys

from locust_kvcache.analysis.commands.working_set import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
