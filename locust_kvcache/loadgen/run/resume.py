"""Resumes an interrupted run: incomplete rounds are set aside, never mixed with new ones."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.record_files import PARTS_TO_LINES, part_numbers
from locust_kvcache.loadgen.protocol.run_config import pause
from locust_kvcache.loadgen.run.folder import RUN_FORMAT
from locust_kvcache.workload.plan import Calibration
from locust_kvcache.workload.steps import in_pieces

ANEW = "Start a new run instead"
SAME = ("model", "seed", "scenarios", "rounds_planned", "round_kinds", "arrival", "deployment", "arms")
# keys of run.json that must not differ


def _difference(where: str, now: Any, before: Any) -> tuple[str, Any, Any]:
    """The innermost key of run.json that differs, and its two values: deployment.targets.hit_rate_min, 0.5, 0.9."""
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        now, before = dict(enumerate(now, 1)), dict(enumerate(before, 1))
    if isinstance(now, dict) and isinstance(before, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if now.get(key) != before.get(key):
                return _difference(f"{where}.{key}", now.get(key), before.get(key))
    return where, now, before


@dataclass(frozen=True)
class Resumed:
    """The part of a run that stays."""

    folder: Path
    facts: dict[str, Any]  # run.json as it was
    rounds: tuple[dict[str, Any], ...]  # complete ones, in order

    @property
    def nonce(self) -> str:
        return str(self.facts["nonce"])

    @property
    def calibration(self) -> Calibration:
        return Calibration(**self.facts["calibration"])

    def done(self, scenario: str, number: int) -> bool:
        return any((entry["scenario"], entry["round"]) == (scenario, number) for entry in self.rounds)

    def check_same(self, facts: dict[str, Any]) -> None:
        """BadInput if the new command would send something else, or elsewhere."""
        new = json.loads(json.dumps(facts))
        for key in SAME:
            if key in self.facts and new.get(key) != self.facts.get(key):
                where, now, before = _difference(key, new.get(key), self.facts.get(key))
                raise BadInput(
                    f"--resume {self.folder}: {where} is {now!r}, the run had {before!r}. Give what the run had, or start a new run"
                )

    def set_aside(self) -> int:
        """Keep the complete rounds in the run's files; move lines of others to *.cut-N.jsonl. The number of records moved."""
        moved = 0
        for name in ("records", "server_metrics"):
            path = self.folder / f"{name}.jsonl"
            if path.exists():
                cut = self._split(path)
                moved = cut if name == "records" else moved
        return moved

    def _split(self, path: Path) -> int:
        """Line by line: the file of a long run is larger than memory."""
        number = 1 + len(list(path.parent.glob(f"{path.stem}.cut-*.jsonl")))
        aside, partial, cut = path.with_name(f"{path.stem}.cut-{number}.jsonl"), path.with_suffix(".partial"), 0
        with partial.open("wb") as stay, aside.open("wb") as away:
            for line in lines_of(path):
                belongs = self._belongs(line)
                cut += not belongs
                (stay if belongs else away).write(line + b"\n")
        if cut:
            partial.replace(path)
        else:
            partial.unlink()
            aside.unlink()
        return cut

    def _belongs(self, line: bytes) -> bool:
        try:
            value = orjson.loads(line)
        except ValueError:
            return False
        return isinstance(value, dict) and ("round" not in value or self.done(str(value.get("scenario")), value["round"]))


def check_not_running(folder: Path) -> None:
    """BadInput if a running test holds the lock on the folder's records; the system frees it when that process ends, however it ends."""
    try:
        with (folder / "records.jsonl").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        what = f"--resume {folder}: another process is still running this test; stop it first (Ctrl-C keeps what it measured)"
        raise BadInput(what) from error
    except OSError:
        return  # no records, or a file system without locks


def load_resumed(folder: Path) -> Resumed:
    """What --resume names; BadInput if it is no run, needs nothing more, or was cut where its prompts are no longer cold."""
    path = folder / "run.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"--resume {folder}: {path} cannot be read ({error}); expected the folder of a run") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != RUN_FORMAT:
        raise BadInput(f"--resume {folder}: format {found!r}; this version resumes {RUN_FORMAT}. {ANEW}")
    check_not_running(folder)
    try:
        resumed = _complete_rounds(folder, facts)
    except (KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BadInput(f"--resume {folder}: run.json is not as a run has written it ({what}). {ANEW}") from error
    _to_lines(folder)
    return resumed


def _to_lines(folder: Path) -> None:
    """Parts become one records.jsonl again, by a process of its own: the load generator reads no Parquet."""
    if not part_numbers(folder):
        return
    done = subprocess.run([sys.executable, "-m", PARTS_TO_LINES, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BadInput(f"--resume {folder}: its records.d cannot be read ({said}). {ANEW}")


def _complete_rounds(folder: Path, facts: dict[str, Any]) -> Resumed:
    begun = {(entry["scenario"], entry["round"]): entry for entry in facts["rounds"]}
    rounds = []
    for scenario, planned in facts["rounds_planned"].items():
        for number in range(1, planned + 1):
            entry = begun.get((scenario, number))
            if entry is not None and entry["complete"]:
                rounds.append(entry)
            elif entry is not None and number == 1:
                raise BadInput(f"--resume {folder}: round 1 of {scenario} was cut: its prompts may be cached. {ANEW}")
            else:
                resumed = Resumed(folder, facts, tuple(rounds))
                _ = resumed.nonce, resumed.calibration, resumed.facts["started_at"], list(resumed.facts["warnings"])
                return resumed
    raise BadInput(f"--resume {folder}: all rounds of this run are complete; nothing is left to do")


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines as they were written, ended by \\n alone: a server's text in them may hold what Unicode calls a line's end too (U+2028)."""
    with path.open("rb") as file:
        yield from in_pieces((line.rstrip(b"\n") for line in file if line != b"\n"), pause)


def recorded_keys(path: Path) -> Iterator[list[Any]]:
    """(scenario, round, request_index, status) of the records that a file holds."""
    if path.exists():
        for row in map(orjson.loads, lines_of(path)):
            yield [row["scenario"], row["round"], row["request_index"], row["status"]]
