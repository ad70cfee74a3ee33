"""Deals a round's sessions to the workers, and keeps account of who has which and how much of it was released to be sent.

A session that was not released cannot have been sent, however its worker ended (docs/decisions/0008-released-ahead.md).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Set

from locust_kvcache.workload.plan import Plan, Turn


def deal(sessions: int, users: Mapping[str, int]) -> dict[str, list[int]]:
    """Session ids by worker. The next session goes to the worker that is least loaded per user; a worker without users gets none.

    Deterministic in the order of worker names, so that the same workers get the same sessions in every round.
    """
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
    def __init__(self, plan: Plan, shares: Mapping[str, list[int]]) -> None:
        self._plan = plan
        self._waiting = {worker: deque(sessions) for worker, sessions in shares.items()}
        self._released: dict[str, list[int]] = {worker: [] for worker in shares}

    @property
    def workers(self) -> set[str]:
        return set(self._waiting)

    def add(self, worker: str, sessions: Iterable[int]) -> None:
        self._waiting[worker] = deque(sorted([*self._waiting.get(worker, ()), *sessions]))  # plan order, as the worker keeps it
        self._released.setdefault(worker, [])

    def release(self, worker: str, have: int, count: int) -> tuple[list[int], int]:
        """(the next `count` sessions after the `have` that the worker got, how many are left); the same answer if asked twice."""
        if worker not in self._waiting:
            return [], 0
        released, waiting = self._released[worker], self._waiting[worker]
        while len(released) < have + count and waiting:
            released.append(waiting.popleft())
        return released[have : have + count], len(waiting)

    def withdraw(self, worker: str) -> list[int]:
        """The sessions that this worker cannot have sent; from now on it is given none of them."""
        waiting = self._waiting.get(worker, deque())
        sessions = list(waiting)
        waiting.clear()
        return sessions

    def hand_back(self, worker: str, sessions: Iterable[int]) -> list[int]:
        """Released sessions of which the worker itself says that it never began them."""
        back = [session for session in sessions if session in self._released.get(worker, [])]
        self._released[worker] = [session for session in self._released.get(worker, []) if session not in set(back)]
        return back

    def released_count(self, worker: str) -> int:
        """Sessions that were released to a worker."""
        return len(self._released.get(worker, []))

    def open_turns(self, worker: str, seen: Set[int]) -> list[Turn]:
        """Released requests of a worker without a record: it may have sent them."""
        sessions = (self._plan.sessions[index] for index in self._released.get(worker, []))
        return [turn for session in sessions for turn in session.turns if turn.request_index not in seen]

    def still_has(self, worker: str, seen: Set[int]) -> int:
        """Requests of a worker without a record, released or not."""
        waiting = sum(len(self._plan.sessions[index].turns) for index in self._waiting.get(worker, ()))
        return waiting + len(self.open_turns(worker, seen))
