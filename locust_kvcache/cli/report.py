"""Analyses runs again, or makes a report from a stats.json (`locust-kvcache report`)."""

from __future__ import annotations

import sys

from locust_kvcache.analysis import __main__ as analyse
from locust_kvcache.analysis.commands import generate_report


def main() -> int:
    """`report RUN ...` analyses; `report --stats FILE --output-dir DIR` only writes the report."""
    from_stats = any(word == "--stats" or word.startswith("--stats=") for word in sys.argv[1:])
    return generate_report.main() if from_stats else analyse.main()
