"""Collects the evidence of one run for a study's page: rounds, failures, lateness, whether cold and hits are confirmed.

A part of the statistics of a run's own report, without its intervals and models: a study has many runs, and needs none of these.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import plain
from locust_kvcache.analysis.cache import server_evidence, tier_verdicts, windows
from locust_kvcache.analysis.labelling import label_run
from locust_kvcache.analysis.reading.runs import RecordedRun
from locust_kvcache.analysis.reading.timed import measured
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.analysis.round_rows import round_rows
from locust_kvcache.analysis.stats import client_limits


def run_evidence(run: RecordedRun, labelled: pd.DataFrame | None = None) -> dict[str, Any]:
    """Tables as in stats.json: run, complete, rounds, verdicts. `labelled`: its records from `label_run`, where they are at hand."""
    with unusable_is_bad_input(run.folder):
        return _evidence(run, label_run(run)[0] if labelled is None else labelled)


def _evidence(run: RecordedRun, labelled: pd.DataFrame) -> dict[str, Any]:
    records = measured(labelled)
    client = client_limits.with_certificates(client_limits.lag_by_round(records), run.info.beyond_certificate)
    rounds = round_rows(run, records, client)
    servers, _ = server_evidence.server_tables(run, rounds)
    block = run.info.block_size_tokens or windows.BLOCK_SIZE_TOKENS
    verdicts = tier_verdicts.judge(rounds, run.info, servers["tiers"], servers["transfers"], block)
    found: dict[str, Any] = plain({"run": run.info.raw, "complete": run.complete, "rounds": rounds, "verdicts": verdicts})
    return found
