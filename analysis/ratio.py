"""Predicts the best split of GPUs into prefillers and decoders: python -m analysis.ratio --pd RUN ... --gpus N ...

docs/ratio.md says which runs give the points, and what the model is.
"""

import sys

from locust_kvcache.analysis.commands.ratio import main
from locust_kvcache.contract.command import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
