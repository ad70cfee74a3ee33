"""Tells the requests of a timed round that count from those of its warm-up share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.narrow import chosen, rows_taken
from locust_kvcache.analysis.basics.number_text import percent
from locust_kvcache.analysis.basics.plain_values import rows_of, with_scenario_text
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.contract.record import PHASE_OPEN_AT_END, PHASE_WARM_UP

MANY_OPEN = 0.1  # of a round's requests


def measured(records: pd.DataFrame) -> pd.DataFrame:
    """Without the requests that were sent in the warm-up share of a timed round."""
    warm_up = records["phase"].eq(PHASE_WARM_UP)
    return rows_taken(records, ~warm_up) if warm_up.any() else records


def measured_counts(counts: pd.DataFrame, records: pd.DataFrame, info: RunInfo) -> pd.DataFrame:
    """Planned requests and wall time of what is measured: a timed round's rate is that of the requests sent after its warm-up share, over
    the time that is left."""
    timed = info.timed_rounds
    if not timed:
        return counts
    labelled = chosen(records, records["phase"].eq(PHASE_WARM_UP), ["scenario", "round"])
    warm_up = with_scenario_text(labelled).groupby(["scenario", "round"], observed=True).size().to_dict()
    keys = list(zip(counts["scenario"], counts["round"], strict=True))
    whole = {(entry.scenario, entry.number): entry.complete for entry in info.rounds}

    def measured_s(key: tuple[str, int], wall_s: float) -> float:
        if key not in timed:
            return wall_s
        lasted_s = timed[key].round_s if whole[key] else min(wall_s, timed[key].round_s)  # one that was cut
        return lasted_s - timed[key].warm_up_s if lasted_s > timed[key].warm_up_s else float("nan")

    wall_s = [measured_s(key, wall) for key, wall in zip(keys, counts["wall_s"], strict=True)]
    return counts.assign(planned_requests=counts["planned_requests"] - [warm_up.get(key, 0) for key in keys], wall_s=wall_s)


def with_times(rounds: pd.DataFrame, records: pd.DataFrame, info: RunInfo) -> pd.DataFrame:
    """The table of rounds with their time, the requests of the warm-up share (left out), and those that were open at the end (counted)."""
    timed = info.timed_rounds
    if not timed:
        return rounds
    keys = list(zip(rounds["scenario"], rounds["round"], strict=True))
    phases = (
        with_scenario_text(records[["scenario", "round", "phase"]])
        .groupby(["scenario", "round", "phase"], observed=True)
        .size()
        .to_dict()
    )
    return rounds.assign(
        round_s=np.array([timed[key].round_s if key in timed else np.nan for key in keys]),
        warm_up_s=np.array([timed[key].warm_up_s if key in timed else np.nan for key in keys]),
        warm_up_requests=[phases.get((*key, PHASE_WARM_UP), 0) for key in keys],
        open_at_end=[phases.get((*key, PHASE_OPEN_AT_END), 0) for key in keys],
    )


def open_at_end(records: pd.DataFrame) -> list[Problem]:
    """Timed rounds that are short against their requests: those that were open at the end ended while the load fell."""
    ends = with_scenario_text(records[["scenario", "round"]]).assign(open=records["phase"].eq(PHASE_OPEN_AT_END))
    table = ends.groupby(["scenario", "round"], observed=True)["open"].agg(["sum", "size"]).reset_index()
    return [
        Problem(
            "warning",
            "open_at_end",
            f"Round {row['round']} of {row['scenario']}: {row['sum']} of {row['size']} requests ({percent(row['sum'] / row['size'])}) were "
            "open when the time was up; they ended while the load fell, and count.",
            "Give the rounds more time (--round-time).",
        )
        for row in rows_of(table)
        if row["sum"] > MANY_OPEN * row["size"]
    ]
