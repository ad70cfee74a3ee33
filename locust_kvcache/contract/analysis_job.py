"""Defines the messages between the load and the process that analyses its runs.

The process that waits for a job (`python -m locust_kvcache.analysis.commands.after_run`) prints READY when it has imported what it
needs. Each part of its answer ends with a line that END_OF_PART begins and the exit code of that part follows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from locust_kvcache.contract.language import ENGLISH

MODULE = "locust_kvcache.analysis.commands.after_run"
DRAWS = "--draws"  # an argument: a report will be asked for, so that what draws is imported before the first round too
READY = "ready\n"
END_OF_PART = "\x1e"  # ASCII's record separator: no table and no message holds it


@dataclass(frozen=True)
class AnalysisJob:
    """`report`: make report/ too, as the second part of the answer; `png`: with its charts as PNG; `gate`: the exit code judges."""

    folder: str
    report: bool
    png: bool
    gate: bool
    language: str = ENGLISH

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def job_of(line: str) -> AnalysisJob:
    return AnalysisJob(**json.loads(line))
