"""Keeps which turns of a session have begun and ended, so that each waits for what it depends on.

A session without forks is one lane; the branches of a fork are lanes of their own that run at once.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import gevent
from gevent.event import Event

from locust_kvcache.loadgen.client.stream import StreamOutcome
from locust_kvcache.workload.turn import Session, Turn

POLL_S = 0.001


def _branch_before(turns: Sequence[Turn]) -> dict[int, int]:
    """Of the first turn of each branch: that of the branch before it, where both leave the same fork at the same time."""
    found, last, lanes = dict[int, int](), dict[tuple[int, ...], Turn](), set[tuple[int, tuple[int, ...]]]()
    for turn in turns:
        fork = turn.waits_for
        if not turn.lane or (turn.lane, fork) in lanes:
            continue
        lanes.add((turn.lane, fork))
        before = last.get(fork)
        if before is not None and before.wait_s == turn.wait_s:
            found[turn.number] = before.number
        last[fork] = turn
    return found


class SessionRun:
    """`begun`: turns that another user began before it was stopped."""

    def __init__(self, session: Session, begun: Set[int]) -> None:
        self.begun = set(begun)
        self.lanes: dict[int, list[Turn]] = {0: []}
        for turn in session.turns:
            if turn.number not in begun:
                self.lanes.setdefault(turn.lane, []).append(turn)
        self._sent_first = _branch_before(session.turns)
        self._outcomes: dict[int, StreamOutcome] = {}
        self._ended = {turn.number: Event() for lane in self.lanes.values() for turn in lane}

    def wait_for(self, turn: Turn) -> None:
        """Blocks until the turns that it waits for have ended, however they did."""
        for number in turn.waits_for:
            if number in self._ended:
                self._ended[number].wait()

    def wait_for_branch(self, turn: Turn) -> None:
        """Branches that leave a fork together leave in their order, so that the first one brings what all carry, as the plan says."""
        first = self._sent_first.get(turn.number)
        while first in self._ended and not self._ended[first].is_set() and not self._was_sent(first):
            gevent.sleep(POLL_S)

    def sends(self, turn: Turn, outcome: StreamOutcome) -> None:
        self._outcomes[turn.number] = outcome

    def _was_sent(self, number: int) -> bool:
        return number in self._outcomes and bool(self._outcomes[number].response.sent_at_s)

    def ended(self, turn: Turn) -> None:
        self._ended[turn.number].set()

    def lane_over(self, lane: int) -> None:
        """Nothing waits for turns that do not come any more."""
        for turn in self.lanes[lane]:
            self._ended[turn.number].set()
