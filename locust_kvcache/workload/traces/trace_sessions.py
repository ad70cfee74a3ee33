"""Makes a session of one turn for each row of a trace, when it is asked for.

A turn knows what it shares with the rows before it.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Sequence

from locust_kvcache.workload.identity import NOBODY, Identity
from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.steps import Pause, in_pieces, no_pause
from locust_kvcache.workload.traces.loading import load_rows
from locust_kvcache.workload.traces.sharing import PrefixTree
from locust_kvcache.workload.traces.source import TraceSource
from locust_kvcache.workload.turn import Session, Turn


class TraceSessions(LazySessions):
    """The first `requests` rows."""

    def __init__(self, source: TraceSource, requests: int, identity: Identity = NOBODY, pause: Pause = no_pause) -> None:
        self._rows = load_rows(source, pause)
        super().__init__(min(requests, len(self._rows)), pause)
        self._shared_tokens: array[int] = array("q")
        self._shared_with: array[int] = array("q")  # -1: nobody
        tree = PrefixTree(self._rows.known, self._rows.block_tokens)
        for row in in_pieces(range(self._count), pause):
            found = tree.add(row, self._rows.known(row), self._rows.input_tokens[row], identity.salt_group(row))
            self._shared_tokens.append(found.tokens)
            self._shared_with.append(-1 if found.source is None else found.source)

    def _session(self, session: int) -> Session:
        rows, found = self._rows, self._shared_with[session]
        tokens, shared, shared_with = rows.input_tokens[session], self._shared_tokens[session], None if found < 0 else found
        output_tokens, blocks = rows.output_tokens[session], rows.blocks(session)
        turn = Turn(session, session, 1, tokens, tokens, shared, shared_with, output_tokens, blocks)
        return Session(session, 0, (turn,), rows.due_s[session])

    @property
    def due_s(self) -> Sequence[float]:
        return self._rows.due_s[: self._count]

    def requests_of(self, session: int) -> range:
        return range(session, session + 1)

    @property
    def output_tokens(self) -> int:
        return sum(self._rows.output_tokens[: self._count])

    @property
    def prefixes(self) -> int:
        return 1

    def prompts(self) -> Iterator[Sequence[int]]:
        return in_pieces(((tokens,) for tokens in itertools.islice(self._rows.input_tokens, self._count)), self._pause)
