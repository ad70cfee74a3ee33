"""Finds where each cache tier stops holding: python -m analysis.working_set RUN [RUN ...]

A tier's hit rate is the share of round 2's prompt tokens that it or a faster tier answered, by the servers' counters, else as reported.
"""

import sys

from locust_kvcache.analysis.commands.working_set import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
