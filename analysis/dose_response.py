"""Shows how the TTFT depends on the cached share: python -m analysis.dose_response RUN [RUN ...]

The achieved hit share of every request is checked against its cell's target before its TTFT says anything; the model is the runs' own.
"""

import sys

from locust_kvcache.analysis.commands.dose_response import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
