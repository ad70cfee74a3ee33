"""Shows how a run recovered from an event: python -m analysis.recovery RUN [RUN ...] --event kill=+24.2

docs/recovery.md says how every figure is counted.
"""

import sys

from locust_kvcache.analysis.commands.recovery import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
