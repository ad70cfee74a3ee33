"""Deals a round's sessions to the workers, and keeps account of what each has and may send.

A session that was not released cannot have been sent, however its worker ended (docs/decisions/0008-released-ahead.md).
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Mapping, Sequence, Set

from locust_kvcache.loadgen.protocol.run_config import pause
from locust_kvcache.loadgen.protocol.session_ids import SessionLine
from locust_kvcache.workload.plan import Plan, Turn
from locust_kvcache.workload.steps import in_pieces


def deal(sessions: int, users: Mapping[str, int]) -> dict[str, array[int]]:
    """Session numbers by worker. The next session goes to the worker that is least loaded per user; a worker without users gets none.

    Deterministic in the order of worker names, so that the same workers get the same sessions in every round. When each worker has got
    as many sessions as it has users, it begins anew.
    """
    period = sum(users.values())
    first = _deal_once(min(sessions, period), users)
    shares = {worker: array("i") for worker in users}
    for begin in in_pieces(range(0, sessions, max(1, period)), pause):
        for worker, places in first.items():
            shares[worker].extend(begin + place for place in places if begin + place < sessions)
    return shares


def _deal_once(sessions: int, users: Mapping[str, int]) -> dict[str, list[int]]:
    shares: dict[str, list[int]] = {worker: [] for worker in users}
    heap = [(1 / count, position, worker) for position, (worker, count) in enumerate(sorted(users.items())) if count > 0]
    if not heap and sessions:
        raise ValueError("no worker has a user to send with")
    heapq.heapify(heap)
    for session in range(sessions):
        _, position, worker = heap[0]
        shares[worker].append(session)
        heapq.heapreplace(heap, ((len(shares[worker]) + 1) / users[worker], position, worker))
    return shares


class Ledger:
    def __init__(self, plan: Plan, shares: Mapping[str, Sequence[int]]) -> None:
        self._plan = plan
        self._waiting = {worker: SessionLine(sessions) for worker, sessions in shares.items()}
        self._released = {worker: array("i") for worker in shares}
        self._begun: dict[int, list[int]] = {}  # of sessions that the end of a timed round cut: requests that were begun
        self._unsent: set[int] = set()  # of a timed round: the first session of each worker that it did not begin

    @property
    def workers(self) -> set[str]:
        return set(self._waiting)

    def add(self, worker: str, sessions: Iterable[int]) -> None:
        self._waiting.setdefault(worker, SessionLine()).add(sessions)
        self._released.setdefault(worker, array("i"))

    def release(self, worker: str, have: int, count: int) -> tuple[list[int], int]:
        """(the next `count` sessions after the `have` that the worker got, how many are left); the same answer if asked twice."""
        if worker not in self._waiting:
            return [], 0
        released, waiting = self._released[worker], self._waiting[worker]
        released.extend(waiting.take(max(0, have + count - len(released))))
        return released[have : have + count].tolist(), len(waiting)

    def withdraw(self, worker: str) -> list[int]:
        """The sessions that this worker cannot have sent; from now on it is given none of them."""
        waiting = self._waiting.get(worker, SessionLine())
        return waiting.take(len(waiting))

    def hand_back(self, worker: str, sessions: Iterable[int]) -> list[int]:
        """Released sessions of which the worker itself says that it never began them."""
        released = self._released.get(worker, array("i"))
        known = set(released)
        back = [session for session in sessions if session in known]
        gone = set(back)
        self._released[worker] = array("i", (session for session in released if session not in gone))
        return back

    def waiting(self, worker: str) -> int:
        """Sessions that a worker has and that were not released."""
        return len(self._waiting.get(worker, ()))

    def time_is_up(self, worker: str, received: int, cut: Iterable[tuple[int, Iterable[int]]]) -> None:
        """What a worker began of a timed round: of its `received` first sessions all, but of those that are `cut` the turns named."""
        released = self._released.get(worker, array("i"))
        unsent = set(released[received:]) | set(self.withdraw(worker))
        for session, numbers in cut:
            begun = set(numbers)
            if begun:
                turns = self._plan.sessions[session].turns
                self._begun[session] = [turn.request_index for turn in turns if turn.number in begun]
            else:
                unsent.add(session)
        self._released[worker] = array("i", (session for session in released[:received] if session not in unsent))
        self._unsent |= {min(unsent)} if unsent else set()

    def planned(self) -> int:
        """Of a timed round that is over: the requests that were begun, or may have been."""
        return sum(len(self._requests(s)) for released in self._released.values() for s in in_pieces(released, pause))

    def first_unsent(self, otherwise: int) -> int:
        """The first session of which no worker began anything; `otherwise` where all that was dealt was begun."""
        return min(self._unsent, default=otherwise)

    def _requests(self, session: int) -> Sequence[int]:
        return self._begun[session] if session in self._begun else self._plan.requests_of(session)

    def released_count(self, worker: str) -> int:
        """Sessions that were released to a worker."""
        return len(self._released.get(worker, ()))

    def _open(self, worker: str, seen: Set[int]) -> dict[int, list[int]]:
        """By session, the released requests of a worker without a record."""
        released = self._released.get(worker, ())
        found = {}
        for session in in_pieces(released, pause):
            if requests := [request for request in self._requests(session) if request not in seen]:
                found[session] = requests
        return found

    def open_turns(self, worker: str, seen: Set[int]) -> list[Turn]:
        """Released requests of a worker without a record: it may have sent them."""
        found = self._open(worker, seen)
        return [turn for s, requests in found.items() for turn in self._plan.sessions[s].turns if turn.request_index in requests]

    def still_has(self, worker: str, seen: Set[int]) -> int:
        """Requests of a worker without a record, released or not."""
        waiting = sum(len(self._plan.requests_of(session)) for session in in_pieces(self._waiting.get(worker, ()), pause))
        return waiting + sum(map(len, self._open(worker, seen).values()))
