"""Merges Parquet parts of records into one records.jsonl for --resume (python -m locust_kvcache.analysis.reading.parts_to_lines RUN)."""

from __future__ import annotations

import sys
from pathlib import Path

from locust_kvcache.analysis.reading.record_lines import to_lines

if __name__ == "__main__":
    to_lines(Path(sys.argv[1]))
