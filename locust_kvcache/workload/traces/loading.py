"""Loads the rows of a trace that are to be replayed, with notes on the file.

A file is read once and kept while it is used.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.workload.data_files import entries
from locust_kvcache.workload.regular_files import open_file, sha256_of
from locust_kvcache.workload.returns import return_rows
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.traces.entry_rows import FileRows
from locust_kvcache.workload.traces.formats import EXPECTED
from locust_kvcache.workload.traces.recorded import Link
from locust_kvcache.workload.traces.rows import TraceRows
from locust_kvcache.workload.traces.source import TIME_UNITS, TraceSource
from locust_kvcache.workload.traces.timing import in_order, seconds, time_unit, unit_doubt

ALL, SOME, NONE = PREFIXES = ("all", "some", "none")  # rows of which the file tells what they share
NO_PREFIXES = (
    "the file has lengths and times, but no prefixes: every prompt is new, and what the recorded requests could have reused is "
    "unknown"
)


@dataclass
class _File:
    """What one file holds, in its own order and unit."""

    facts: FileRows
    times: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    links: list[Link | None] = field(default_factory=list)
    without_ids: int = 0

    @cached_property
    def waits(self) -> bool:
        """Whether any request waits for another."""
        return any(link is not None and link.after for link in self.links)


def _read(source: TraceSource, pause: Pause) -> _File:
    found = _File(FileRows(source.block_size, source.time_unit))
    with open_file(source.path) as file:
        for row in in_pieces(found.facts.read(entries(source.path, file, EXPECTED)), pause):
            found.times.append(row.at)
            found.input_tokens.append(row.input_tokens)
            found.output_tokens.append(row.output_tokens)
            found.links.append(row.link)
            if row.blocks is None:
                found.without_ids += 1
            else:
                found.ids.extend(row.blocks)
            found.starts.append(len(found.ids))
    if not found.times:
        left_out = f" ({found.facts.unanswered:,} without an answer)" if found.facts.unanswered else ""
        raise BadInput(f"{source.path}: holds no request{left_out}; expected {EXPECTED}")
    return found


def _prefixes(found: _File) -> str:
    if found.without_ids == 0:
        return ALL
    return NONE if found.without_ids == len(found.times) else SOME


def _notes(found: _File, early: int, unit: str, unit_note: str | None) -> tuple[str, ...]:
    facts, rows, name = found.facts, len(found.times), found.facts.format.name if found.facts.format else ""
    times = "dates" if facts.dated else f"timestamps in {unit}"
    prefixes = _prefixes(found)
    counted = (
        (found.without_ids if prefixes == SOME else 0, "have no hash_ids: what they share is unknown, their prompts are new"),
        (facts.no_output, "have an output length of 0 and are sent with 1, the minimum that a server accepts"),
        (facts.from_text, "have text: their lengths are estimates; the prompts sent have these lengths, and equal beginnings stay equal"),
        (facts.without_answers, "carry only what is new of their session: earlier messages are put before them, answers are unknown"),
        (facts.by_delay, "have a session and a delay instead of a time: they are sent so long after the answer to the row before "
                         "them, and input_length is taken for the whole prompt"),
        (facts.without_end, "have no end: the gap behind them is counted from their start, the recorded answer's time included"),
        (0 if found.waits else early, "are earlier than the row before them: all are sorted by time"),
    )  # fmt: skip
    said = [
        f"format {name}, {times}" + ("" if prefixes == NONE else f", blocks of {facts.block_size} tokens"),
        *filter(None, [unit_note, NO_PREFIXES if prefixes == NONE else None]),
        *(f"{count:,} of {rows:,} rows {text}" for count, text in counted if count),
    ]
    if found.waits:
        sessions = len({link.session for link in found.links if link is not None})
        noun = "session" if sessions == 1 else "sessions"
        said.append(f"{sessions:,} {noun}: a request waits for those of its session that had ended when it began")
    if facts.no_requests:
        said.append(f"{facts.no_requests:,} spans are not model calls and are left out")
    if facts.unanswered:
        said.append(f"{facts.unanswered:,} rows without response tokens are left out: the recorded service failed")
    return tuple(said)


def _loaded(source: TraceSource, pause: Pause) -> TraceRows:
    sha256 = sha256_of(source.path)
    if source.sha256 and sha256 != source.sha256:
        raise BadInput(
            f"{source.path}: its sha256 is {sha256[:12]}..., the master read {source.sha256[:12]}...; every host needs the same file"
        )
    found = _read(source, pause)
    facts = found.facts
    given = "s" if facts.dated else source.time_unit
    of_format = "ms" if facts.by_delay else facts.format.time_unit if facts.format else None  # a delay is in ms
    unit, unit_note = time_unit(found.times, given, of_format)
    doubt = unit_doubt(found.times, unit, given)
    order, early = in_order(found.times)
    try:
        times_s = seconds([found.times[row] for row in order] if early else found.times, unit, source.keep_bursts or found.waits)
    except BadInput as error:
        raise BadInput(f"{source.path}: {error}") from error
    rows = TraceRows(
        source.block_tokens or facts.block_size,
        notes=_notes(found, early, unit, unit_note),
        warning=f"{source.path}: {doubt}" if doubt else None,
        prefixes=_prefixes(found),
        block_size=facts.block_size,
        time_unit=unit,
    )
    if found.waits:
        _choose_sessions(rows, source, found, order, times_s)
    else:
        _choose(rows, source, found, order, times_s, pause)
    return rows


def _choose_sessions(rows: TraceRows, source: TraceSource, found: _File, order: Sequence[int], times_s: Sequence[float]) -> None:
    """Whole sessions that begin in the window, at their speed and scale, one after another in the order of their first requests."""
    stop_s, scale = math.inf if source.stop_s is None else source.stop_s, rows.block_tokens / rows.block_size
    at_s = dict(zip(order, times_s, strict=True))
    sessions: dict[object, list[int]] = {}
    for row in order:
        link = found.links[row]
        sessions.setdefault(row if link is None else link.session, []).append(row)
    first_s = None
    for members in sessions.values():
        head = found.ids[found.starts[members[0]] : found.starts[members[0] + 1]]
        if not source.start_s <= at_s[members[0]] < stop_s or not _sampled(head or (members[0],), source.sample):
            continue
        first_s = at_s[members[0]] if first_s is None else first_s
        numbers: dict[int, int] = {}
        for number, row in enumerate(members, 1):
            ids, link = found.ids[found.starts[row] : found.starts[row + 1]], found.links[row] or Link("")
            tokens = max(1, round(found.input_tokens[row] * scale))
            output_tokens = max(1, round(found.output_tokens[row] * scale))
            rows.add((at_s[row] - first_s) / source.speed, tokens, output_tokens, ids[: math.ceil(tokens / rows.block_tokens)])
            wait_s = link.wait * TIME_UNITS[rows.time_unit] / 1000 / source.speed
            rows.add_turn(tuple(numbers[one] for one in link.after if one in numbers), wait_s, link.lane)
            numbers[row] = number
        rows.sessions.append(len(rows))
    if not rows:
        raise BadInput(
            f"{source.path}: no session begins between {source.start_s:g} and {stop_s:g} s; the trace ends at {times_s[-1]:g} s"
        )


def _choose(
    rows: TraceRows, source: TraceSource, found: _File, order: Sequence[int], times_s: Sequence[float], pause: Pause
) -> None:
    """The rows of the window and of the sample, at their speed and scale."""
    stop_s, scale, first_s = math.inf if source.stop_s is None else source.stop_s, rows.block_tokens / rows.block_size, None
    for place, row in in_pieces(enumerate(order), pause):
        at_s = times_s[place]
        if not source.start_s <= at_s < stop_s:
            continue
        ids = found.ids[found.starts[row] : found.starts[row + 1]]
        if not _sampled(ids or (row,), source.sample):
            continue
        first_s = at_s if first_s is None else first_s
        tokens = max(1, round(found.input_tokens[row] * scale))
        output_tokens = max(1, round(found.output_tokens[row] * scale))
        rows.add((at_s - first_s) / source.speed, tokens, output_tokens, ids[: math.ceil(tokens / rows.block_tokens)])
    if not rows:
        raise BadInput(
            f"{source.path}: no request between {source.start_s:g} and {stop_s:g} s is left; the trace ends at {times_s[-1]:g} s"
        )


def _sampled(blocks: Sequence[int], share: float) -> bool:
    """By family, its first two blocks (nearly all share the first one, a system prompt): sharing within a family stays whole."""
    if share >= 1:
        return True
    digest = hashlib.sha256(repr(tuple(blocks[:2])).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


_kept: dict[TraceSource, TraceRows] = {}
KEPT = 2


def keep(source: TraceSource, rows: TraceRows) -> None:
    """These are the rows of this source too, which says what the file decided."""
    _kept[source] = rows


def load_rows(source: TraceSource, pause: Pause = no_pause) -> TraceRows:
    """The rows to send. A source that names its sha256 is read once: the preflight, each plan and each round ask for it."""
    if source.returns is not None:
        return return_rows(source.returns, "")
    rows = _kept.pop(source, None) or _loaded(source, pause)
    if source.sha256:
        _kept[source] = rows
    while len(_kept) > KEPT:
        del _kept[next(iter(_kept))]
    return rows
