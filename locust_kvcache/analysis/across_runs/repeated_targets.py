"""Judges the targets of repeated runs of one deployment: each run as its own report judges it, and the mean of all with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from locust_kvcache.analysis.cache.claimed import ROUND
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.stats import targets
from locust_kvcache.analysis.tables.table import find
from locust_kvcache.contract.targets import HIT_RATE

Row = dict[str, Any]
ONE = "one run has no interval over runs"


def judged(runs: Sequence[Analysis]) -> list[Row]:
    """A row per target, scenario, and round of an arm. One that some run could not be judged on is not judged on all of them either."""
    rows = [(run, row) for run in runs for row in run.stats["targets"] if row["target"] in targets.RUN_TARGETS]
    keys = dict.fromkeys(_key(row) for _, row in rows)
    return [_judged([(run, row) for run, row in rows if _key(row) == key]) for key in keys]


def _key(row: Row) -> tuple[str, str | None, str]:
    """Target, scenario, and the round of an arm."""
    return row["target"], row["scenario"], str(row["text"]).partition(", round ")[2].partition(",")[0]


def _judged(mine: Sequence[tuple[Analysis, Row]]) -> Row:
    rows = [row for _, row in mine]
    if len({row["split"] for row in rows}) > 1:  # one run by evidence, another by round: all of them by round
        rows = [_by_round(run, row) for run, row in mine]
    if open_ := next((row for row in rows if row["verdict"] == targets.NOT_JUDGED), None):
        return open_
    if len(rows) == 1 and rows[0]["target"] != HIT_RATE:
        return {**rows[0], "low": None, "high": None, "certain": False, "why": ONE}
    return targets.over_runs(rows)


def _by_round(run: Analysis, row: Row) -> Row:
    if row["verdict"] == targets.NOT_JUDGED or row["split"] == ROUND:
        return row
    found = pd.DataFrame(find(run.stats["effects"], split=ROUND, scenario=row["scenario"]))
    return targets.judge(row["target"], row["threshold"], targets.EFFECT_TARGETS[row["target"]], found, row["scenario"])
