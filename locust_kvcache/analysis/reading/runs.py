"""Reads a run's folder: run.json, records, the servers' counters, and what is wrong with them.

from locust_kvcache.analysis.reading.runs import load_run
run = load_run("results/my-run")
run.records.groupby("round").ttft_ms.median()
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from locust_kvcache.analysis.basics.plain_values import readable, rows_of
from locust_kvcache.analysis.basics.problems import Problem
from locust_kvcache.analysis.reading.counts import check_counts
from locust_kvcache.analysis.reading.records import read_records
from locust_kvcache.analysis.reading.run_info import RunInfo
from locust_kvcache.analysis.reading.run_json import parse_run_info
from locust_kvcache.analysis.reading.scrapes import read_scrapes, without_balanced
from locust_kvcache.analysis.reading.unusable import unusable_is_bad_input
from locust_kvcache.contract.errors import BadInput

RUN_FORMAT = 1


@dataclass(frozen=True)
class RecordedRun:
    """What a run's folder holds. `records` has one row per usable record and one column per field of the Record."""

    folder: Path
    info: RunInfo
    records: pd.DataFrame
    server_metrics: list[dict[str, Any]]  # one per scrape, without addresses at which several servers answer
    counts: pd.DataFrame  # scenario, round, planned_requests, records (by run.json), found, wall_s
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        return not any(problem.severity == "error" for problem in self.problems)


def load_run(folder: str | Path) -> RecordedRun:
    """Read and check a run's folder. BadInput if it is not one; what is merely missing or torn becomes a Problem."""
    with unusable_is_bad_input(Path(folder)):
        return _load_run(Path(folder))


def _load_run(path: Path) -> RecordedRun:
    info = parse_run_info(read_run_json(path))
    records, problems = read_records(path, str(info.run_id))
    records, count_problems = check_counts(records)
    problems += [*count_problems, *_incomplete(info), *info.problems]
    counts = count_records(info, records)
    problems += _check_counts(info, counts, records)
    metrics, metric_problems = read_scrapes(path / "server_metrics.jsonl")
    metrics, balanced = without_balanced(metrics)
    return RecordedRun(path, info, records, metrics, counts, (*problems, *metric_problems, *balanced))


def read_json(path: Path, what: str, way_out: str) -> dict[str, Any]:
    """The object in a JSON file; BadInput names the file and the way out."""
    try:
        value = readable(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}; expected {what}. {way_out}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is not valid JSON ({error}); expected {what}. {way_out}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path}: holds a {type(value).__name__}; expected {what}. {way_out}")
    return value


def read_run_json(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder, its format checked."""
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise BadInput(f"{folder}: {found}; expected the folder of a run, e.g. results/NAME. `ls results` lists them.")
    path = folder / "run.json"
    if not path.is_file():
        held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise BadInput(f"{folder}: is not a run: it has no run.json (it holds {held}). Give a folder that a load run wrote.")
    info = read_json(path, "what a load run wrote", "Give another run.")
    if info.get("format") != RUN_FORMAT:
        raise BadInput(
            f"{path}: key 'format' is {info.get('format')!r}; this version reads {RUN_FORMAT}. Use the version that wrote it."
        )
    _check_types(path, info)
    return info


def _check_types(path: Path, info: dict[str, Any]) -> None:
    """The keys that the analysis walks through must have their shape; all others may be anything."""
    shapes: dict[str, Any] = {"rounds": list, "scenarios": list, "deployment": dict, "server": dict, "targets": dict}
    for key, shape in shapes.items():
        if info.get(key) is None:
            info[key] = shape()
        value = info[key]
        if not isinstance(value, shape) or (shape is list and not all(isinstance(entry, dict) for entry in value)):
            wanted = "a list of objects" if shape is list else "an object"
            raise BadInput(f"{path}: key {key!r} is {str(value)[:80]!r}; expected {wanted} (docs/files.md). Give another run.")


def count_records(info: RunInfo, records: pd.DataFrame) -> pd.DataFrame:
    """Per scenario and round in the order in which they ran: what run.json says and what records.jsonl holds."""
    keys = ["scenario", "round"]
    rows = [(entry.scenario, entry.number, entry.planned_requests, entry.records, entry.wall_s) for entry in info.rounds]
    planned = pd.DataFrame(rows, columns=[*keys, "planned_requests", "records", "wall_s"]).astype(
        {"scenario": str, "round": "int64"}
    )
    found = records.groupby(keys, observed=True, sort=False).size().rename("found").reset_index().astype({"scenario": str})
    counts = planned.merge(found, on=keys, how="outer", sort=False)
    names: list[str] = planned["scenario"].tolist() + found["scenario"].tolist()
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    counts = counts.assign(order=counts["scenario"].map(order)).sort_values(["order", "round"], ignore_index=True)
    counts["found"] = counts["found"].fillna(0).astype("int64")
    for column in ("planned_requests", "records", "wall_s"):
        counts[column] = pd.to_numeric(counts[column], errors="coerce")
    return counts.drop(columns="order")


def _incomplete(info: RunInfo) -> list[Problem]:
    if info.complete:
        return []
    reason = info.incomplete_reason or "run.json does not say why"
    way = "Read it as a part of a run, go on after its last complete round (--resume), or run it again."
    return [
        Problem(
            "error",
            "incomplete",
            f"The run is incomplete: {reason}.",
            way if _resumable(info) else "Read it as a part of a run, or run it again.",
        )
    ]


def _resumable(info: RunInfo) -> bool:
    """As --resume sees it: rounds are missing, and no first round was cut, whose prompts may be cached."""
    done = sum(entry.complete for entry in info.rounds)
    first_was_cut = any(entry.number == 1 and not entry.complete for entry in info.rounds)
    wanted = sum(info.rounds_planned.values()) if isinstance(info.rounds_planned, Mapping) else done + 1
    return 0 < done < wanted and not first_was_cut


def _check_counts(info: RunInfo, counts: pd.DataFrame, records: pd.DataFrame) -> list[Problem]:
    """Every planned request of every round has exactly one record, or an error says which round has not."""
    problems = []
    if records.empty:
        problems.append(Problem("error", "no_records", "There is no usable record.", "Look at the run's log; run it again."))
    for row in rows_of(counts):
        name = f"Round {row['round']} of {row['scenario']}"
        if row["planned_requests"] is None:
            text = f"{name} has {row['found']} records, but run.json does not list that round."
            problems.append(Problem("error", "unlisted_round", text, "Was run.json or records.jsonl copied from another run?"))
        elif row["found"] != row["planned_requests"]:
            text = f"{name}: {row['found']} of {row['planned_requests']:.0f} planned requests have a record."
            problems.append(Problem("error", "count", text, "Its figures are those of the requests that are there."))
    for scenario in [str(entry.get("name")) for entry in info.scenarios]:
        wanted, listed = info.planned_rounds(scenario), int((counts["scenario"] == scenario).sum())
        if isinstance(wanted, int) and listed < wanted:
            text = f"{scenario}: {listed} of {wanted} planned rounds have begun."
            problems.append(Problem("error", "missing_round", text, "What needs the missing rounds is left out."))
    return problems
