"""Makes an endless plan from a finite one: it repeats the sessions, each time with new texts or with the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from locust_kvcache.workload.lazy_sessions import LazySessions
from locust_kvcache.workload.steps import no_pause
from locust_kvcache.workload.turn import Session, Turn

if TYPE_CHECKING:
    from locust_kvcache.workload.plan import Plan

MOST_SESSIONS = 2_000_000_000  # session numbers travel in 4 bytes


class EndlessSessions(LazySessions):
    """Session `k * n + i` is session i of the plan's n in the k-th pass; its requests are numbered on in the same way.

    Numbers go on by all of the plan's sessions also where a pass sends only the first of them, so that a number stands for the same
    lengths in every round.
    """

    def __init__(self, one_pass: Plan, first_pass: int = 0, sent: int = 0, fresh: bool = True) -> None:
        self._plan = one_pass
        self._all = len(one_pass.sessions)
        self._requests = one_pass.requests_of(self._all - 1).stop
        self._sent = min(sent or self._all, self._all)
        self._first_pass, self._fresh = first_pass, fresh
        self._of_pass = lru_cache(maxsize=4)(self._with_texts_of)
        super().__init__(MOST_SESSIONS // self._all * self._all, no_pause)

    def number(self, place: int) -> int:
        """The session that is sent at a place: each pass sends the first `sent` of the plan's."""
        return place // self._sent * self._all + place % self._sent

    def place(self, session: int) -> int:
        """The place at which a session is sent: what number() gave its number to."""
        passed, inner = divmod(session, self._all)
        return passed * self._sent + inner

    def of(self, session: int) -> tuple[Plan, int]:
        """(the plan with the texts of the session's pass, its number there)."""
        passed, inner = divmod(session, self._all)
        return self._of_pass(self._first_pass + (passed if self._fresh else 0)), inner

    def _with_texts_of(self, number: int) -> Plan:
        """Texts differ from the first token on; those of the first pass are the plan's own."""
        if number == 0:
            return self._plan
        mark = hashlib.sha256(f"{self._plan.nonce}/{number}".encode()).hexdigest()[:6]
        return self._plan.with_nonce(f"{mark}{self._plan.nonce}")

    def requests_of(self, session: int) -> range:
        passed, inner = divmod(session, self._all)
        found = self._plan.requests_of(inner)
        return range(found.start + passed * self._requests, found.stop + passed * self._requests)

    def _session(self, session: int) -> Session:
        passed, inner = divmod(session, self._all)
        found, requests = self._plan.sessions[inner], passed * self._requests
        turns = tuple(_moved(turn, session, requests) for turn in found.turns)
        prefix = (passed << 32) + found.prefix_id if self._fresh else found.prefix_id
        return Session(session, prefix, turns)

    @property
    def output_tokens(self) -> int:
        """Of one pass."""
        return self._plan.all_output_tokens

    @property
    def prefixes(self) -> int:
        """Of one pass."""
        return self._plan.prefixes

    def prompts(self) -> Iterator[Sequence[int]]:
        """Of one pass."""
        return self._plan.prompts()


def _moved(turn: Turn, session: int, requests: int) -> Turn:
    source = turn.shares_prefix_with
    return dataclasses.replace(
        turn,
        request_index=turn.request_index + requests,
        session_id=session,
        shares_prefix_with=None if source is None else source + requests,
    )


def endless(one_pass: Plan, first_pass: int = 0, sent: int = 0, fresh: bool = True) -> Plan:
    """The plan pass after pass, from `first_pass` on. `sent`: so many sessions of each pass, 0 for all."""
    return dataclasses.replace(one_pass, sessions=EndlessSessions(one_pass, first_pass, sent, fresh))
