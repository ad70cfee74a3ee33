"""Warns of sessions that no user was free for, once per round: a rate lower than planned is never silent."""

from __future__ import annotations

import logging

from locust_kvcache.loadgen.protocol.messages import Late

log = logging.getLogger("kvcache")


class Lateness:
    def __init__(self) -> None:
        self._late: dict[tuple[str, int], dict[str, tuple[int, float]]] = {}

    def note(self, worker: str, late: Late) -> None:
        """A worker's count so far in a round; the first one of a round is said at once."""
        workers = self._late.setdefault((late.scenario, late.round), {})
        if not workers:
            log.warning(
                "%s: round %d falls behind its schedule: no user is free when a session is due", late.scenario, late.round
            )
        workers[worker] = (late.sessions, late.worst_ms)

    def text(self, scenario: str, number: int, planned: int) -> str | None:
        """What to write into the run about a round; None if every session found a user in time."""
        workers = self._late.get((scenario, number))
        if not workers:
            return None
        late = sum(sessions for sessions, _ in workers.values())
        worst_s = max(worst_ms for _, worst_ms in workers.values()) / 1000
        return (
            f"round {number} of {scenario}: {late} of {planned} sessions were sent late, up to {worst_s:.1f} s, because no user was free; "
            f"the rate was lower than planned. schedule_lag_ms has each delay. More users (-u) keep the loop open"
        )
