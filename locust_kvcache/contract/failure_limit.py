"""Reads --max-failures (`3` or `1%`): how many requests may fail in a run that a gate still accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from locust_kvcache.contract.errors import BadInput

HELP = "requests that may fail, as a number or a share such as 1%% (default: 0, or what the run was started with)"


@dataclass(frozen=True)
class FailureLimit:
    """A count, or a share of the planned requests; the larger of both counts."""

    count: int = 0
    share: float = 0.0

    def allows(self, failed: int, planned: int) -> bool:
        return failed <= max(self.count, int(self.share * planned))

    def __str__(self) -> str:
        return f"{100 * self.share:g}%" if self.share else f"{self.count}"


def parse_failure_limit(given: Any) -> FailureLimit:
    """From an option, or from run.json's `max_failures`; None is no failure at all."""
    text = "0" if given is None else str(given).strip()
    try:
        share = text.endswith("%")
        limit = FailureLimit(share=float(text[:-1]) / 100) if share else FailureLimit(count=int(text))
    except ValueError:
        limit = FailureLimit(count=-1)
    if limit.count < 0 or not 0 <= limit.share <= 1:
        raise BadInput(f"--max-failures: {text!r} is not a limit; give a number of requests such as 3, or a share such as 1%")
    return limit
