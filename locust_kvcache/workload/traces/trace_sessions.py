"""Makes a session of one turn for each row of a trace, when it is asked for.

A turn knows what it shares with the rows before it.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace

from locust_kvcache.workload.identity import NOBODY, Identity
from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.traces.sharing import PrefixTree
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.turn import Session, Turn
from locust_kvcache.workload.waits import AS_PLANNED, Gaps


class TraceSessions(LazySessions):
    """The first `requests` rows: a session each, or the sessions that were recorded; the last one is cut."""

    def __init__(
        self,
        source: TraceSource,
        requests: int,
        identity: Identity = NOBODY,
        gaps: Gaps = AS_PLANNED,
        pause: Pause = no_pause,
    ) -> None:
        self._rows, self._gaps = load_rows(source, pause), gaps
        self._requests = min(requests, len(self._rows))
        self._starts = self._rows.sessions if self._rows.after else range(len(self._rows) + 1)
        super().__init__(bisect.bisect_left(self._starts, self._requests), pause)
        self._shared_tokens: array[int] = array("q", bytes(8 * self._requests))
        self._shared_with: array[int] = array("q", bytes(8 * self._requests))  # -1: nobody
        order = [row for row in self._rows.in_time() if row < self._requests] if self._rows.after else range(self._requests)
        tree = PrefixTree(lambda place: self._rows.known(order[place]), self._rows.block_tokens)
        for place, row in in_pieces(enumerate(order), pause):
            salt = identity.salt_group(self._session_of(row))
            found = tree.add(place, self._rows.known(row), self._rows.input_tokens[row], salt)
            self._shared_tokens[row] = found.tokens
            self._shared_with[row] = -1 if found.source is None else order[found.source]

    def _session_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1 if self._rows.after else row

    def _session(self, session: int) -> Session:
        start = self._starts[session]
        turns = tuple(self._turn(row, session, row - start + 1) for row in self.requests_of(session))
        return Session(session, 0, turns, self._rows.due_s[start])

    def _turn(self, row: int, session: int, number: int) -> Turn:
        rows, found = self._rows, self._shared_with[row]
        tokens, shared_with = rows.input_tokens[row], None if found < 0 else found
        turn = Turn(
            row, session, number, tokens, tokens, self._shared_tokens[row], shared_with, rows.output_tokens[row], rows.blocks(row)
        )
        if not rows.after:
            return turn
        wait_s = self._gaps.of(rows.wait_s[row])
        return replace(turn, wait_s=wait_s, carries=(), after=rows.after[row], lane=rows.lane[row])

    @property
    def due_s(self) -> Sequence[float]:
        if self._rows.after:
            return array("d", (self._rows.due_s[start] for start in self._starts[: self._count]))
        return self._rows.due_s[: self._count]

    def requests_of(self, session: int) -> range:
        return range(self._starts[session], min(self._starts[session + 1], self._requests))

    @property
    def output_tokens(self) -> int:
        return sum(self._rows.output_tokens[: self._requests])

    @property
    def prefixes(self) -> int:
        return 1

    def prompts(self) -> Iterator[Sequence[int]]:
        each = (self._rows.input_tokens[requests.start : requests.stop] for requests in map(self.requests_of, range(self._count)))
        return in_pieces(each, self._pause)
