"""What the commands share: the exit code of a gate (contract/exit_codes.py)."""

from __future__ import annotations

from typing import Any

from locust_kvcache.analysis.stats.targets import FAIL
from locust_kvcache.contract.exit_codes import Exit


def gate(stats_list: list[dict[str, Any]], targets: list[dict[str, Any]]) -> int:
    """0 pass, 1 a target failed, 2 a run is incomplete, so that its targets prove nothing."""
    if not all(stats["complete"] for stats in stats_list):
        return Exit.NOT_JUDGED
    return Exit.TARGET_MISSED if any(target["verdict"] == FAIL for target in targets) else Exit.OK
