"""Writes records as batches arrive from the workers, and counts which planned requests have their record.

They go to records.jsonl; with `parts` that file is closed from time to time (contract/record_files.py).
"""

from __future__ import annotations

import contextlib
import fcntl
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO, cast

import orjson

from locust_kvcache.contract.failure_words import SAID_BY_SERVERS, counted_causes
from locust_kvcache.contract.record import OK, Record
from locust_kvcache.loadgen.run.index_set import IndexSet
from locust_kvcache.loadgen.run.record_parts import RecordParts

MOST_ERRORS = 1000  # different ones that are kept; further ones are counted by their status
RoundKey = tuple[str, int]  # scenario, round


class Collector:
    def __init__(self, path: Path, earlier: Iterable[list[Any]] | None = None, parts: RecordParts | None = None) -> None:
        """`earlier` are the keys of the records that the file holds already, where a run is resumed."""
        self._path, self._parts = path, parts
        self._file: TextIO | None = self._opened("x" if earlier is None else "a")
        self._in_file = 0  # records that the open file holds
        self.parts_as_lines = 0  # parts of which no Parquet file could be made
        self._seen: dict[RoundKey, IndexSet] = defaultdict(IndexSet)
        self._statuses: dict[RoundKey, Counter[str]] = defaultdict(Counter)
        self._failed: Counter[tuple[str, str | None]] = Counter()  # (status, error)
        self._lost: dict[RoundKey, set[int]] = defaultdict(set)
        self.duplicates = 0
        self.late_records = 0  # of requests that were given up as lost before; not written
        self.error: OSError | None = None  # the first failed write: what was written before stays

        earlier = list(earlier or ())
        self._in_file = len(earlier)
        self._count(earlier)
        self._failed.update((status, None) for _, _, _, status in earlier if status != OK)

    def _opened(self, mode: str) -> TextIO:
        file = cast(TextIO, self._path.open(mode, encoding="utf-8"))
        with contextlib.suppress(OSError):  # some file systems have no locks; --resume asks for it (resume.py)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file

    def _close_part(self, parts: RecordParts) -> None:
        """The open file becomes a part, and another one is begun."""
        assert self._file is not None
        parts.take(self._path)
        full, self._file, self._in_file = self._file, self._opened("x"), 0
        full.close()

    def _count(self, keys: Iterable[list[Any]]) -> None:
        for scenario, number, index, status in keys:
            self.duplicates += not self._seen[scenario, number].add(index)
            self._statuses[scenario, number][status] += 1

    def add(self, lines: list[str], keys: Iterable[list[Any]]) -> None:
        """Write a batch; `keys` are (scenario, round, request_index, status), so that no line is parsed here."""
        if self._file is None or self.error is not None:
            return
        keys = list(keys)
        if any(index in self._lost.get((scenario, number), ()) for scenario, number, index, _ in keys):
            kept = [i for i, (scenario, number, index, _) in enumerate(keys) if index not in self._lost[scenario, number]]
            self.late_records += len(keys) - len(kept)
            lines, keys = [lines[i] for i in kept], [keys[i] for i in kept]
        if not lines:
            return
        try:
            self._file.write("\n".join(lines) + "\n")
            self._file.flush()
        except OSError as error:
            self.error = error
            return
        self._in_file += len(lines)
        self._count(keys)
        for line, (_, _, _, status) in zip(lines, keys, strict=False):
            if status != OK:
                self._note_failure(line, status)
        if self._parts is not None and self._parts.is_due(self._in_file):
            try:
                self._close_part(self._parts)
            except OSError as error:
                self.error = error

    def _note_failure(self, line: str, status: str) -> None:
        error = orjson.loads(line).get("error") if status in SAID_BY_SERVERS and len(self._failed) < MOST_ERRORS else None
        self._failed[status, error] += 1

    def causes(self) -> dict[str, int]:
        """Why requests failed, of all rounds: cause -> how many. Of a resumed run's earlier records only the status is known."""
        return counted_causes((status, error, count) for (status, error), count in self._failed.items())

    def add_lost(self, record: Record) -> None:
        """The master's own record of a request whose worker is lost; the worker's, should it come yet, is refused."""
        self.add([record.to_json()], [[record.scenario, record.round, record.request_index, record.status]])
        self._lost[record.scenario, record.round].add(record.request_index)

    def seen(self, scenario: str, number: int) -> IndexSet:
        return self._seen[scenario, number]

    def statuses(self, scenario: str, number: int) -> Counter[str]:
        return self._statuses[scenario, number]

    @property
    def records(self) -> int:
        return sum(len(seen) for seen in self._seen.values())

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: what could not be written was said when it happened
                self._file.close()
            self._file = None
            self._close_parts()

    def _close_parts(self) -> None:
        """What is left is the last part; nothing is in flight any more, so this waits until all are made."""
        if self._parts is None:
            return
        with contextlib.suppress(OSError):  # then the last records stay in the open file
            if self._in_file:
                self._parts.take(self._path)
            else:
                self._path.unlink()
        self.parts_as_lines = self._parts.close()
