"""Checks server configs for keys that nothing reads: python -m analysis.check_configs FILE...

Knows LMCache YAML, Mooncake JSON, compose files and our deployment files; with --workers it adds up the host memory of the cache.
"""

import sys

from locust_kvcache.analysis.commands.check_configs import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
