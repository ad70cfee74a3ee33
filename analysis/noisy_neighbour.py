"""Says what the other tenants cost a quiet one: python -m analysis.noisy_neighbour RUN [RUN ...]

The runs are those of --noisy-neighbour: pairs of one tenant alone and beside the others, with the same requests at the same times.
"""

import sys

from locust_kvcache.analysis.commands.noisy_neighbour import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
