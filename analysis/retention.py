"""Shows how long the caches keep a prompt, in the runs of --gaps: python -m analysis.retention RUN [RUN ...]"""

import sys

from locust_kvcache.analysis.commands.retention import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
