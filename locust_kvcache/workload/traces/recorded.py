"""Finds in a recorded session which request waited for which, and how long: order, gaps and forks of a replay.

A request waits for those that had ended when it began; what overlaps runs at once, each in a lane of its own.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple


class Link(NamedTuple):
    """How a request stands in its session: `after` are rows of the file that it waits for, and `wait` the time from their end, in the
    file's unit."""

    session: str
    after: tuple[int, ...] = ()
    wait: float = 0.0
    lane: int = 0


class Recorded(NamedTuple):
    """One request of a log, times in s; `end_s` None where the log has none: then the next one of its session is taken to wait for it."""

    session: str
    begin_s: float
    end_s: float | None
    input_tokens: int
    output_tokens: int
    blocks: array[int] | None


def links_of(rows: Sequence[Recorded]) -> list[Link]:
    """Per row, by the times alone."""
    by_session = defaultdict[str, list[int]](list)
    for place in sorted(range(len(rows)), key=lambda place: (rows[place].begin_s, place)):
        by_session[rows[place].session].append(place)
    found: dict[int, Link] = {}
    for session, places in by_session.items():
        found |= _links(session, rows, places)
    return [found[place] for place in range(len(rows))]


def _links(session: str, rows: Sequence[Recorded], places: Sequence[int]) -> dict[int, Link]:
    """`heads`: the requests that no later one has waited for yet, each with its lane."""
    found: dict[int, Link] = {}
    heads: dict[int, int] = {}
    lanes = 0
    fork_of: tuple[int, ...] = ()  # what the last request waited for: one that overlaps it waits for the same
    for place in places:
        begin_s = rows[place].begin_s
        ended = [head for head in heads if _end_s(rows[head]) <= begin_s]
        after = tuple(sorted(ended)) or fork_of
        lane = min((heads[head] for head in ended), default=lanes)
        lanes = max(lanes, lane + 1)
        last_s = max((_end_s(rows[head]) for head in after), default=begin_s)
        found[place] = Link(session, after, max(0.0, begin_s - last_s), lane)
        heads = {head: in_lane for head, in_lane in heads.items() if head not in ended} | {place: lane}
        fork_of = after
    return found


def _end_s(row: Recorded) -> float:
    return row.begin_s if row.end_s is None else max(row.begin_s, row.end_s)
