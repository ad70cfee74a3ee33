"""Computes the hit rate that a prefix cache can reach on a trace: without a limit, and for LRU caches of given sizes.

    python -m analysis.oracle TRACE [--capacity 1000 10000 30000 50000] [--kv-bytes-per-token 327680] [--output oracle.png]

Token-weighted: tokens found in the cache / prompt tokens. A row finds the longest run of its first blocks that is cached; then all its
blocks become the most recent ones, and the least recent are dropped down to the capacity.
"""

import sys

from locust_kvcache.analysis.commands.oracle import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
