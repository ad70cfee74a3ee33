"""python -m locust_kvcache.analysis.reading.parts_to_lines RUN: what --resume does to a run whose records are Parquet files."""

from __future__ import annotations

import sys
from pathlib import Path

from locust_kvcache.analysis.reading.record_lines import to_lines

if __name__ == "__main__":
    to_lines(Path(sys.argv[1]))
