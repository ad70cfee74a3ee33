"""python -m analysis.check_configs FILE...: server configs come in, dead keys go out, each with what to write instead; exit 1 if any.

Knows LMCache YAML, Mooncake JSON, compose files and our deployment files; with --workers it adds up the host memory of the cache.
"""

import sys

from locust_kvcache.analysis.commands.check_configs import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
