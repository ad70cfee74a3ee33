"""In place of the Python that execnet would start for a worker of pytest-xdist: has the worker forked, and waits for its end.

python -IS tests/warm/forward_worker.py FIFO FOLDER ID ...
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
    from tests.warm.jobs import WarmProcess

    fifo, folder, name = sys.argv[1:4]
    job = Path(folder) / f"{name}-{time.monotonic_ns()}"
    worker = WarmProcess(
        fifo, job, "tests.warm.worker", [name], os.getcwd(), dict(os.environ), sys.executable, streams_of=os.getpid()
    )
    sys.exit(worker.wait(poll_s=0.5) & 0xFF)
