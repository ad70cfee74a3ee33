"""Sessions and the users of each worker come in, each worker's share goes out: in plan order, in proportion, each session once."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


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
