"""Decides how much of a share's texts is made before its round, and makes the rest a little ahead of need while streams are open.

Few texts are all made before any stream is open. A million take minutes and gigabytes: there the first ones are made before the round,
the others in slices that an open stream does not notice, and each is dropped when it was sent. A session is asked for only when its
texts are made, so no user ever waits inside a request for them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import gevent

from locust_kvcache.loadgen.client.slices import slices
from locust_kvcache.loadgen.protocol.session_ids import SessionLine
from locust_kvcache.loadgen.worker.prepared_requests import PreparedRequests
from locust_kvcache.workload.endless import EndlessSessions
from locust_kvcache.workload.plan import Plan

MOST_TOKENS = 5_000_000  # all texts are made before the round up to here: about 5 s of work and 30 MB
FIRST_SESSIONS = 256  # where not all are made: at least so many before the round
SAMPLED_SESSIONS = 500
SLICE_S = 0.0005


def in_slices(steps: Iterable[None], slice_s: float = SLICE_S) -> None:
    """Do the steps, in turns of the loop that come after requests that are sent."""
    slices().turn(later=True)
    until_s = time.monotonic() + slice_s
    for _ in steps:
        if time.monotonic() >= until_s:
            slices().turn(later=True)
            until_s = time.monotonic() + slice_s


def tokens_per_session(plan: Plan, sessions: Sequence[int]) -> float:
    """About how many tokens of text a session is, a shared prefix counted once: by a sample of them."""
    sampled = [plan.sessions[index] for index in sessions[:: max(1, len(sessions) // SAMPLED_SESSIONS)]]
    own = sum(session.turns[-1].prompt_tokens - session.turns[0].shared_tokens for session in sampled)
    return max(1.0, own / max(1, len(sampled)))


def prepare(prepared: PreparedRequests, sessions: Sequence[int], users: int) -> None:
    """Make the texts that must be there before these sessions are released."""
    each = tokens_per_session(prepared.plan, sessions)
    if each * len(sessions) > MOST_TOKENS or isinstance(prepared.plan.sessions, EndlessSessions):
        prepared.keep_few(max(2 * users, int(MOST_TOKENS / each)))
    first = sessions if prepared.few is None else sessions[: max(2 * users, FIRST_SESSIONS)]
    in_slices(step for index in first for step in prepared.making(prepared.plan.sessions[index]))


class TextsAhead:
    """Makes the texts of the sessions at the front of `line`."""

    def __init__(self, prepared: PreparedRequests, line: SessionLine) -> None:
        self._prepared, self._line = prepared, line
        self._wanted = 0
        self._made = 0  # sessions at the front of the line that are known to have theirs
        self._maker: gevent.Greenlet | None = None

    def made(self) -> int:
        """How many sessions at the front of the line have their texts; no more than are wanted."""
        while self._made < min(self._wanted, len(self._line)) and self._prepared.has(self._line[self._made]):
            self._made += 1
        return self._made

    def go_on(self, taken: int, wanted: int) -> None:
        """`taken` sessions have left the front; have the texts of the next `wanted` made. Returns at once."""
        self._made = max(0, self._made - taken)
        self._wanted = min(wanted, self._prepared.few or wanted)
        if self._maker is None or self._maker.dead:
            self._maker = gevent.spawn(lambda: in_slices(self._make()))

    def changed(self, wanted: int) -> None:
        """Sessions have come into the line, somewhere."""
        self.go_on(self._made, wanted)

    def _make(self) -> Iterator[None]:
        while (place := self.made()) < min(self._wanted, len(self._line)):
            yield from self._prepared.making(self._prepared.plan.sessions[self._line[place]])
