"""Turns the entries of a trace file, of any format, into rows of one form.

A row has a time, lengths, and the ids of its blocks if the file has any.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.file_entry import Entry
from locust_kvcache.workload.file_kinds import inner
from locust_kvcache.workload.traces.csv_records import SEPARATORS, cells, records
from locust_kvcache.workload.traces.formats import (
    COLUMNS,
    EXPECTED,
    EXPECTED_JSON,
    FORMATS,
    OPENAI,
    OTEL,
    WEKA,
    WEKA_BLOCK,
    TraceFormat,
    csv_format,
    json_format,
)
from locust_kvcache.workload.traces.logs import log_requests
from locust_kvcache.workload.traces.recorded import Link, links_of
from locust_kvcache.workload.traces.source import TIME_UNITS
from locust_kvcache.workload.traces.text_blocks import OUTPUT_KEYS, asked_tokens, text_blocks, text_of, texts_of
from locust_kvcache.workload.traces.timing import SINCE_1970, SINCE_1970_S, since_1970
from locust_kvcache.workload.traces.values import block_numbers, date_value, is_date, length_value, time_value
from locust_kvcache.workload.traces.weka import weka_requests

COMMON_SIZES = (16, 32, 64, 128, 256, 512, 1024)


class EntryRow(NamedTuple):
    """One request as the file has it; `at` in the file's unit, `blocks` None where nothing is known of what it shares."""

    at: float
    input_tokens: int
    output_tokens: int
    blocks: array[int] | None
    link: Link | None = None  # of a recorded session


@dataclass
class FileRows:
    """The rows of one file, read one by one; the counts are complete when the last one is read."""

    given_block_size: int | None
    given_time_unit: str | None = None
    format: TraceFormat | None = None
    dated: bool = False  # times are dates; found by the first one
    unanswered: int = 0  # left out: the recorded service failed
    no_output: int = 0  # sent with one output token
    from_text: int = 0
    by_delay: int = 0
    no_requests: int = 0  # spans that are no call of a model
    without_end: int = 0
    _rows: int = 0
    _last_row: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # by session: its name now, its last row
    without_answers: int = 0
    _session_texts: dict[str, list[str]] = field(default_factory=dict)
    _session_at: dict[str, float] = field(default_factory=dict)
    _first_at: float | None = None  # the first time that the file names

    @property
    def block_size(self) -> int:
        return self.given_block_size or (self.format or FORMATS[0]).block_size

    def read(self, entries: Iterable[Entry]) -> Iterator[EntryRow]:
        source = iter(entries)
        first = next(source, None)
        if first is None:
            return
        if first.parsed or first.raw.lstrip()[:1] in (b"{", b"["):
            value = first.json(EXPECTED)
            if not isinstance(value, dict):
                raise BadInput(f"{first.where} is {str(value)[:60]!r}; expected {EXPECTED}")
            self.format = json_format(value)
            if self.format in (WEKA, OTEL, OPENAI):
                yield from self._sessions([(value, first.where), *((entry.json(EXPECTED_JSON), entry.where) for entry in source)])
                return
            yield from self._objects(value, first.where)
            for entry in source:
                yield from self._objects(entry.json(EXPECTED_JSON), entry.where)
        else:
            yield from self._table(first, source)

    def _sessions(self, entries: list[tuple[Any, str]]) -> Iterator[EntryRow]:
        """Of a file whose requests wait for one another."""
        if self.format == WEKA:
            if self.given_block_size is None and isinstance(entries[0][0], dict):
                size = entries[0][0].get("block_size")
                self.given_block_size = WEKA_BLOCK if size is None else length_value(size, "block_size", entries[0][1], 1)
            for at, tokens, output, blocks, link in weka_requests(entries, self.block_size):
                yield EntryRow(at, tokens, output, blocks, link)
            return
        requests, self.no_requests = log_requests(entries, self.format == OTEL, self.block_size)
        self.dated = bool(requests) and requests[0].begin_s > SINCE_1970_S
        self.without_end = sum(one.end_s is None for one in requests)
        for one, link in zip(requests, links_of(requests), strict=True):
            self.from_text += one.blocks is not None
            yield EntryRow(one.begin_s, one.input_tokens, one.output_tokens, one.blocks, link)

    def _table(self, header: Entry, lines: Iterator[Entry]) -> Iterator[EntryRow]:
        between = next((mark for mark in SEPARATORS if csv_format(cells(header, mark, EXPECTED))), ",")
        titles = cells(header, between, EXPECTED)
        names = [name.strip().lower() for name in titles]
        self.format = csv_format(names)
        if self.format is None or self.format.columns is None:
            raise BadInput(f"{header.where} is {header.text().strip()[:60]!r}; expected {EXPECTED}, {COLUMNS}")
        places = [names.index(column) for column in self.format.columns]
        time_key, input_key, output_key = (titles[place].strip() for place in places)
        for entry in records(lines):
            row, where = cells(entry, between, EXPECTED), entry.where
            if len(row) != len(names):
                raise BadInput(f"{where} has {len(row)} columns; expected {len(names)}: {', '.join(titles)[:80]}")
            at_text, input_text, output_text = (row[place] for place in places)
            at = self._at(at_text, time_key, where)
            output = length_value(output_text, output_key, where, 0)
            if output == 0 and self.format.drops_unanswered:
                self.unanswered += 1
                continue
            yield EntryRow(at, length_value(input_text, input_key, where, 1), self._answered(output), None)

    def _at(self, value: Any, key: str, where: str) -> float:
        """A number, or where the file's first time is a date, a date."""
        if self._first_at is None:
            self.dated = is_date(value)
        at = date_value(value, key, where) if self.dated else time_value(value, key, where)
        self._first_at = at if self._first_at is None else self._first_at
        if at >= SINCE_1970["us"] and since_1970(at) != since_1970(self._first_at):
            raise BadInput(
                f"{where}: key {key!r} is {value}; expected a number of seconds or ms as the first one, {self._first_at:.15g} (or all of "
                "them in us or ns)"
            )
        return at

    def _delay(self, row: dict[str, Any], where: str) -> float:
        """In the unit of the file's times. It is in ms, which they need not be."""
        if row.get("delay") is None:
            return 0.0
        unit = "s" if self.dated else self.given_time_unit or since_1970(self._first_at or 0.0) or "ms"
        return time_value(row["delay"], "delay", where) / TIME_UNITS[unit]

    def _answered(self, output_tokens: int) -> int:
        """No server makes an answer of 0 tokens: it is asked for one, which the prompt costs anyway."""
        self.no_output += output_tokens == 0
        return max(1, output_tokens)

    def _objects(self, row: Any, where: str) -> Iterator[EntryRow]:
        """A row, or the turns of a session of AIPerf, each with what it adds."""
        if not isinstance(row, dict) or row.get("turns") is None:
            yield self._object(row, where)
            return
        if not isinstance(row["turns"], list) or not row["turns"] or not all(isinstance(turn, dict) for turn in row["turns"]):
            raise BadInput(
                f"{where}: key 'turns' is {str(row['turns'])[:60]!r}; expected a list of turns with text, delay and output_length"
            )
        session = str(row.get("session_id") or where)
        for turn in row["turns"]:
            whole = {**turn, "session_id": session, "message_mode": "delta"}
            if isinstance(said := text_of(turn), str) and said.strip():
                whole["text_input"] = f"{said}\n"
            if not any(turn.get(key) is not None for key in OUTPUT_KEYS):
                whole["output_length"] = row.get("output_length")
            yield self._object(whole, where)

    def _object(self, row: Any, where: str) -> EntryRow:
        if not isinstance(row, dict):
            raise BadInput(f"{where} is {str(row)[:60]!r}; expected {EXPECTED_JSON}")
        at = self._time(row, where)
        link = self._link(row, where)
        if row.get("input_length") is None and (texts := texts_of(row, where)) is not None:
            input_tokens, blocks = self._of_text(row, texts)
        else:
            input_tokens, blocks = self._lengths(row, where)
        output_tokens = self._answered(asked_tokens(row, where))
        return EntryRow(at, input_tokens, output_tokens, blocks, link)

    def _link(self, row: dict[str, Any], where: str) -> Link | None:
        """A row without a time waits for the row before it of its session, and `delay` from its end; one with a time begins anew."""
        number, session = self._rows, row.get("session_id")
        self._rows += 1
        if session is None:
            return None
        name, before = self._last_row.get(str(session), (f"{session}", None))
        if row.get("timestamp") is not None:
            name, before = f"{session} {number}", None
        self._last_row[str(session)] = (name, number)
        delay = self._delay(row, where)
        return Link(name, () if before is None else (before,), 0.0 if before is None else delay)

    def _of_text(self, row: dict[str, Any], texts: list[str]) -> tuple[int, array[int] | None]:
        """Of a session whose rows carry only what is new (AIPerf's delta mode): behind what its earlier rows have said."""
        self.from_text += 1
        if row.get("message_mode") == "delta" and row.get("session_id") is not None:
            said = self._session_texts.setdefault(str(row["session_id"]), [])
            self.without_answers += bool(said)
            said.extend(texts)
            texts = said
        return text_blocks(texts, self.block_size)

    def _lengths(self, row: dict[str, Any], where: str) -> tuple[int, array[int] | None]:
        if row.get("input_length") is None:
            raise BadInput(f"{where}: key 'input_length' is missing; expected {EXPECTED_JSON}")
        tokens = length_value(row["input_length"], "input_length", where, 1)
        if row.get("hash_ids") is None:
            return tokens, None
        blocks = block_numbers(row["hash_ids"], where)
        if len(blocks) != -(-tokens // self.block_size):
            raise BadInput(f"{where}: key 'hash_ids' has {len(blocks)} ids; {self._wanted(tokens, len(blocks))}")
        return tokens, blocks

    def _wanted(self, tokens: int, found: int) -> str:
        wanted = f"expected {-(-tokens // self.block_size)} for {tokens} tokens, one per {self.block_size}"
        fitting = [size for size in COMMON_SIZES if -(-tokens // size) == found and size != self.block_size]
        return wanted + (
            f"; they fit blocks of {fitting[0]}: --trace-block-size {fitting[0]}" if fitting else "; --trace-block-size N"
        )

    def _time(self, row: dict[str, Any], where: str) -> float:
        """Of a session without a time: `delay` after the row before it, the first at the file's first time."""
        session = row.get("session_id")
        if row.get("timestamp") is not None:
            at = self._at(row["timestamp"], "timestamp", where)
        elif session is None:
            raise BadInput(
                f"{where}: key 'timestamp' is missing; expected {EXPECTED_JSON}, or 'session_id' and 'delay'{inner(row)}"
            )
        else:
            self.by_delay += 1
            before = self._session_at.get(str(session))
            at = ((self._first_at or 0.0) if before is None else before) + self._delay(row, where)
        if session is not None:
            self._session_at[str(session)] = at
        return at
