"""Predicts hit rate, TTFT and cost for each size of each cache tier: python -m analysis.advise --trace FILE --profile NAME ...

docs/advise.md says what it needs, and how it predicts.
"""

import sys

from locust_kvcache.analysis.commands.advise import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
