"""Reads a run's records into a DataFrame, with a Problem for everything that cannot be used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from locust_kvcache.analysis.basics.mapped import kept_column, release
from locust_kvcache.analysis.basics.narrow import group_masks, rows_taken
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.column_stack import ColumnStack
from locust_kvcache.analysis.reading.memory_need import check_fits
from locust_kvcache.analysis.reading.record_batches import add_file
from locust_kvcache.analysis.reading.record_schema import FLAGS, LARGEST, NUMBERS
from locust_kvcache.contract.late_stamps import MATTERS_MS, MATTERS_SHARE
from locust_kvcache.contract.record import OK, RECORD_FORMAT, STATUSES
from locust_kvcache.contract.record_files import OPEN_FILE, record_files

KEYS = ("round", "request_index", "session_id", "turn")
COUNTS = ("prompt_tokens", "output_tokens", "reported_cached_tokens")  # as the server told them
IDENTITY = ["scenario", "round", "request_index"]


def read_records(folder: Path, run_id: str) -> tuple[pd.DataFrame, list[Problem]]:
    """The usable records of a run in the order in which they were written, each once."""
    problems: list[Problem] = []
    files = record_files(folder)
    if not files:
        problems.append(Problem("error", "no_records_file", f"{OPEN_FILE} is missing.", "Was the folder copied without it?"))
    check_fits(folder, files)
    stack = ColumnStack()
    for file in files:
        problems += add_file(stack, file)
    frame, beyond = _without_impossible_numbers(stack.frame())
    frame, more = _usable(frame, run_id)
    frame, uncertain = _without_uncertain_ttft(_typed(frame))
    return frame, problems + beyond + more + uncertain


def _without_impossible_numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Infinities, and numbers beyond LARGEST, are missing; so are keys that are not whole. The server's counts: counts.py."""

    def wrong(name: str) -> pd.Series:
        beyond = frame[name].abs().gt(LARGEST)
        return beyond | frame[name].mod(1).gt(0) if name in KEYS else beyond

    named = []
    for name in NUMBERS:
        if name not in (*FLAGS, *COUNTS) and wrong(name).any():
            named.append(name)
        release()
    if not named:
        return frame, []
    text = f"Impossible values were found in {', '.join(named[:6])}; they were taken as missing."
    cleaned = frame.assign(**{name: kept_column(frame[name].mask(wrong(name))) for name in named})
    return cleaned, [Problem("warning", "record_numbers", text, "Was records.jsonl changed after the run?")]


def _without_uncertain_ttft(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """A first chunk that shares the stamp of a later one gives no TTFT, where that matters (contract.late_stamps.matters)."""
    late_ms, ttft_ms = frame["ttft_uncertain_ms"], frame["ttft_ms"]
    left_out = late_ms.gt(MATTERS_MS) & late_ms.gt(MATTERS_SHARE * ttft_ms)
    if not left_out.any():
        return frame, []
    text = (
        f"{int(left_out.sum())} of {int(ttft_ms.notna().sum())} TTFTs are left out: the first chunk waited in the load generator and was "
        f"read together with the next one, so it came up to {late_ms[left_out].max():.1f} ms before its time stamp."
    )
    way_out = "Use more workers (--processes, --worker), or fewer users per worker."
    cleared = {name: kept_column(frame[name].mask(left_out)) for name in ("ttft_ms", "ttfvt_ms")}
    return frame.assign(**cleared), [Problem("warning", "uncertain_ttft", text, way_out)]


def _usable(frame: pd.DataFrame, run_id: str) -> tuple[pd.DataFrame, list[Problem]]:
    """Records of this format that say which request they are of, each once."""
    problems = []
    other_format = frame["format"].ne(RECORD_FORMAT)
    if other_format.any():
        found = Counter("none" if pd.isna(f) else f"{f:g}" for f in frame.loc[other_format, "format"])
        listed = ", ".join(f"{count} of format {name}" for name, count in found.items())
        text = f"{int(other_format.sum())} records are not of format {RECORD_FORMAT} ({listed})."
        problems.append(
            Problem("warning", "record_format", text, "They were left out; the version that wrote them can read them.")
        )
    whole = frame["scenario"].notna() & frame["status"].notna() & frame["round"].ge(1)
    for name in KEYS:
        whole &= frame[name].notna()
    unnamed = ~whole & ~other_format
    if unnamed.any():
        text = f"{int(unnamed.sum())} records do not identify their request (scenario, {', '.join(KEYS)}, status)."
        problems.append(Problem("warning", "record_keys", text, "They were left out."))
    usable = whole & ~other_format
    frame = frame if usable.all() else rows_taken(frame, usable)
    twice = _duplicated(frame)
    if twice.any():
        text = f"{int(twice.sum())} records are of a request that already has one."
        problems.append(Problem("error", "duplicates", text, "The first of each was used. Were two runs written into one file?"))
        frame = rows_taken(frame, ~twice)
    return frame.reset_index(drop=True), problems + _oddities(frame, run_id)


def _duplicated(frame: pd.DataFrame) -> pd.Series:
    """Records of a request that an earlier one is of."""
    found = np.zeros(len(frame), dtype=bool)
    for _, places in group_masks(frame, IDENTITY[:-1]):
        found[places.to_numpy()] = frame.loc[places, IDENTITY[-1]].duplicated().to_numpy()
        release()
    return pd.Series(found, index=frame.index)


def _oddities(frame: pd.DataFrame, run_id: str) -> list[Problem]:
    problems = []
    foreign = frame["run_id"].notna() & frame["run_id"].ne(run_id)
    if foreign.any():
        names = ", ".join(sorted(map(str, frame.loc[foreign, "run_id"].unique()))[:3])
        text = f"{int(foreign.sum())} records belong to another run ({names}), not to {run_id}."
        problems.append(Problem("error", "foreign_records", text, "Was records.jsonl copied from another run?"))
    strange = sorted(set(map(str, frame["status"].unique())) - set(STATUSES))
    if strange:
        problems.append(Problem("note", "status", f"Unknown statuses, counted as failures: {', '.join(strange)[:200]}."))
    return problems


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Keys as integers, a time below 0 as missing, `ok` as a column of its own."""
    keys = {name: kept_column(frame[name].astype("int64")) for name in KEYS}
    times = {}
    for name in NUMBERS:
        if name.endswith("_ms") and name != "schedule_lag_ms" and frame[name].lt(0).any():
            times[name] = kept_column(frame[name].where(frame[name] >= 0))
        release()
    return frame.assign(**keys, **times, ok=frame["status"].eq(OK))
