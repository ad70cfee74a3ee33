"""Reads records.jsonl into a DataFrame, with a Problem for everything that cannot be used.

A whole file of the current format is read by pyarrow in one go; a file that it refuses (torn, mixed, foreign lines) is read line by line.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.json as pa_json  # type: ignore[import-untyped]

from locust_kvcache.analysis.basics.plain_values import readable
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.contract.record import FIELDS, MATTERS_MS, MATTERS_SHARE, OK, RECORD_FORMAT, STATUSES

TEXTS = (
    "run_id",
    "deployment",
    "model",
    "scenario",
    "worker",
    "status",
    "error",
    "finish_reason",
    "clock",
    "round_kind",
    "usage_rejected",
    "engine",
    "tenant",
    "cache_salt",
    "sent_headers",
    "phase",
)
CONSTANT = ("deployment", "model")  # run.json has them; a million copies would fill the memory
KEYS = ("round", "request_index", "session_id", "turn")
COLUMNS = tuple(name for name in FIELDS if name not in CONSTANT)
NUMBERS = tuple(name for name in COLUMNS if name not in TEXTS)
FLAGS = ("client_limited", "buffered", "reconnected", "end_missing")  # true, false or null in the file; 1, 0 or NaN in the frame
COUNTS = ("prompt_tokens", "output_tokens", "reported_cached_tokens")  # as the server told them
IDENTITY = ["scenario", "round", "request_index"]
LINES_AT_A_TIME = 50_000
LARGEST = 1e15  # of a number in a record: whole numbers are exact below it, and no time or count comes near it
_TYPES = {**dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(TEXTS, pa.string()), **dict.fromkeys(FLAGS, pa.bool_())}
_SCHEMA = pa.schema([(name, _TYPES[name]) for name in COLUMNS])


def read_records(path: Path, run_id: str) -> tuple[pd.DataFrame, list[Problem]]:
    """The usable records in file order, each once."""
    problems: list[Problem] = []
    if not path.is_file():
        problems.append(Problem("error", "no_records_file", f"{path.name} is missing.", "Was the folder copied without it?"))
        return _typed(_empty()), problems
    frame = _read_whole(path)
    if frame is None:
        frame, problems = _read_lines(path)
    frame, beyond = _without_impossible_numbers(frame)
    frame, more = _usable(frame, run_id)
    frame, uncertain = _without_uncertain_ttft(_typed(frame))
    return frame, problems + beyond + more + uncertain


def _without_impossible_numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Infinities, and numbers beyond LARGEST, are missing; so are keys that are not whole. The server's counts: counts.py."""
    wrong = {name: frame[name].abs().gt(LARGEST) for name in NUMBERS if name not in (*FLAGS, *COUNTS)}
    wrong |= {name: wrong[name] | frame[name].mod(1).gt(0) for name in KEYS}
    named = [name for name, found in wrong.items() if found.any()]
    if not named:
        return frame, []
    text = f"Numbers that no request can have were found in {', '.join(named[:6])}; they were taken as missing."
    cleaned = frame.assign(**{name: frame[name].mask(wrong[name]) for name in named})
    return cleaned, [Problem("warning", "record_numbers", text, "Was records.jsonl changed after the run?")]


def _without_uncertain_ttft(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """A first chunk that shares the stamp of a later one gives no TTFT, where that matters (contract.record.matters)."""
    late_ms, ttft_ms = frame["ttft_uncertain_ms"], frame["ttft_ms"]
    left_out = late_ms.gt(MATTERS_MS) & late_ms.gt(MATTERS_SHARE * ttft_ms)
    if not left_out.any():
        return frame, []
    text = (
        f"{int(left_out.sum())} of {int(ttft_ms.notna().sum())} TTFTs are left out: the first chunk waited in the load generator and was "
        f"read together with the next one, so it came up to {late_ms[left_out].max():.1f} ms before its time stamp."
    )
    way_out = "Use more workers (--processes, --worker), or fewer users per worker."
    cleared = {name: frame[name].mask(left_out) for name in ("ttft_ms", "ttfvt_ms")}
    return frame.assign(**cleared), [Problem("warning", "uncertain_ttft", text, way_out)]


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str" if name in TEXTS else "float64") for name in COLUMNS})


def _read_whole(path: Path) -> pd.DataFrame | None:
    """All lines by pyarrow (a million in seconds), or None if any of them is not what the schema says."""
    if path.stat().st_size == 0:
        return _empty()
    with path.open("rb") as file:
        file.seek(-1, io.SEEK_END)
        if file.read(1) != b"\n":
            return None
    try:
        table = pa_json.read_json(
            str(path),
            read_options=pa_json.ReadOptions(block_size=8 << 20),
            parse_options=pa_json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    frame: pd.DataFrame = table.to_pandas(strings_to_categorical=True, split_blocks=True, self_destruct=True)
    return frame.assign(**{name: frame[name].astype("float64") for name in FLAGS})


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else float("inf")  # an integer of 400 digits is no float


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    row: dict[str, Any] = {name: _number(value.get(name)) for name in NUMBERS}
    for name in FLAGS:
        row[name] = float(value[name]) if isinstance(value.get(name), bool) else None
    for name in TEXTS:
        if name in COLUMNS:
            row[name] = readable(value[name]) if isinstance(value.get(name), str) else None
    return row


def _read_lines(path: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Line by line, keeping what is JSON. A last line without its newline counts as torn only if it does not parse."""
    frames, rows, bad = [_empty()], [], []
    number, torn = 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _parse_line(line)
            if row is None:
                torn = not line.endswith(b"\n")
                bad.append(number)
            else:
                rows.append(row)
            if len(rows) >= LINES_AT_A_TIME:
                frames.append(pd.DataFrame(rows, columns=list(COLUMNS)))
                rows = []
    frames.append(pd.DataFrame(rows, columns=list(COLUMNS)))
    frame = pd.concat([_coerced(part) for part in frames if len(part)] or [_empty()], ignore_index=True)
    problems = []
    if torn:
        bad.pop()
        text = f"The last line of {path.name} (line {number}) is torn: the run was cut off while it wrote it."
        problems.append(Problem("warning", "torn_line", text, "It was left out."))
    if bad:
        text = f"{len(bad)} lines of {path.name} are not JSON objects (first: line {bad[0]})."
        problems.append(Problem("warning", "bad_lines", text, "They were left out."))
    return frame, problems


def _coerced(frame: pd.DataFrame) -> pd.DataFrame:
    """Column by column, as astype of a whole frame copies each column for each."""
    return pd.DataFrame({name: frame[name].astype("category" if name in TEXTS else "float64") for name in COLUMNS})


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
    whole = frame[list(KEYS)].notna().all(axis=1) & frame["scenario"].notna() & frame["status"].notna() & frame["round"].ge(1)
    unnamed = ~whole & ~other_format
    if unnamed.any():
        text = f"{int(unnamed.sum())} records do not say which request they are of (scenario, {', '.join(KEYS)}, status)."
        problems.append(Problem("warning", "record_keys", text, "They were left out."))
    frame = frame[whole & ~other_format]
    twice = frame.duplicated(IDENTITY)
    if twice.any():
        text = f"{int(twice.sum())} records are of a request that already has one."
        problems.append(Problem("error", "duplicates", text, "The first of each was used. Were two runs written into one file?"))
    return frame[~twice], problems + _oddities(frame, run_id)


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
    """Keys as integers, texts as categories, a time below 0 as missing, `ok` as a column of its own."""
    frame = _coerced(frame).reset_index(drop=True)
    keys = {name: frame[name].astype("int64") for name in KEYS}
    times = [name for name in NUMBERS if name.endswith("_ms") and name != "schedule_lag_ms"]
    return frame.assign(**keys, **{name: frame[name].where(frame[name] >= 0) for name in times}, ok=frame["status"].eq(OK))
