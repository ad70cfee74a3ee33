"""Provides sessions that are made when they are asked for, so that a plan of a million requests is a few arrays."""

from __future__ import annotations

import bisect
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

from locust_kvcache.workload.steps import Pause, in_pieces
from locust_kvcache.workload.turn import Session, Turn


class LazySessions(Sequence[Session]):
    """All sessions of one scenario; `pause` is called every few milliseconds where all are gone through."""

    def __init__(self, count: int, pause: Pause) -> None:
        self._count = count
        self._pause = pause

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Session: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Session, ...]: ...
    def __getitem__(self, index: int | slice) -> Session | tuple[Session, ...]:
        if isinstance(index, slice):
            return tuple(map(self._session, range(self._count)[index]))
        return self._session(range(self._count)[index])

    def __iter__(self) -> Iterator[Session]:
        return in_pieces(map(self._session, range(self._count)), self._pause)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Session.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    @abstractmethod
    def _session(self, session: int) -> Session: ...

    @abstractmethod
    def requests_of(self, session: int) -> range:
        """The request_index of each of its turns."""

    @property
    @abstractmethod
    def output_tokens(self) -> int:
        """Of all requests together."""

    @property
    @abstractmethod
    def prefixes(self) -> int:
        """Different ones that are used."""

    @abstractmethod
    def prompts(self) -> Iterator[Sequence[int]]:
        """The planned prompt tokens of each turn, session by session, without making the sessions."""


class LazyTurns(Sequence[Turn]):
    """The turns of all sessions, in order."""

    def __init__(self, sessions: LazySessions) -> None:
        self._sessions = sessions
        self._requests = sessions.requests_of(len(sessions) - 1).stop

    def __len__(self) -> int:
        return self._requests

    def __iter__(self) -> Iterator[Turn]:
        return (turn for session in self._sessions for turn in session.turns)

    @overload
    def __getitem__(self, index: int) -> Turn: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Turn, ...]: ...
    def __getitem__(self, index: int | slice) -> Turn | tuple[Turn, ...]:
        if isinstance(index, slice):
            return tuple(self[request] for request in range(self._requests)[index])
        request = range(self._requests)[index]
        found = bisect.bisect_right(range(len(self._sessions)), request, key=lambda k: self._sessions.requests_of(k).start) - 1
        return self._sessions[found].turns[request - self._sessions.requests_of(found).start]
