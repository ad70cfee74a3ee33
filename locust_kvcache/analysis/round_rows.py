"""Makes the table of rounds: what each was played for, its counts and rates, and whether the client was in time."""

from __future__ import annotations

import pandas as pd

from locust_kvcache.analysis.cache.round_facts import kind_of, round_kinds
from locust_kvcache.analysis.reading import timed
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.stats import busy_time, summary


def round_rows(run: RecordedRun, records: pd.DataFrame, client: pd.DataFrame) -> pd.DataFrame:
    """The table of rounds; of timed ones, what is measured: `records` without those of their warm-up share."""
    return rows_of_rounds(run.info, records, timed.measured_counts(run.counts, run.records, run.info), client)


def rows_of_rounds(info: RunInfo, records: pd.DataFrame, counts: pd.DataFrame, client: pd.DataFrame) -> pd.DataFrame:
    """The table of rounds: what each was played for, whether the client was in time, and the rate while all users were busy."""
    keys, kinds = ["scenario", "round"], round_kinds(info.rounds)
    rounds = summary.round_table(records, counts)
    rounds["kind"] = [kinds.get(key, kind_of(key[1])) for key in zip(rounds["scenario"], rounds["round"], strict=True)]
    return rounds.merge(client, on=keys, how="left").merge(busy_time.busy_table(records), on=keys, how="left")
