"""Finds the highest sustained load in the runs of a --capacity search: python -m analysis.capacity RUN [RUN ...]

Every step is judged again from its records, by the rules of the search itself (contract/capacity_rule.py); --slo asks for other limits.
"""

import sys

from locust_kvcache.analysis.commands.capacity import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
