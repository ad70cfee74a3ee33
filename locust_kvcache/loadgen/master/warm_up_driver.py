"""Warms the server up before a scenario's first round: windows of requests that are not measured, until their TTFT is steady.

What is sent and when it ends is decided in workload/warm_up.py; docs/warm-up-and-control.md says why.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from locust_kvcache.loadgen.console import console
from locust_kvcache.loadgen.protocol.arrivals import Arrival
from locust_kvcache.loadgen.run.state import Run
from locust_kvcache.loadgen.run.warm_up_window import WarmUpWindow
from locust_kvcache.workload.plan import Plan
from locust_kvcache.workload.spec import Scenario
from locust_kvcache.workload.warm_up import FRESH, WarmUp, rate_per_s, window_sessions

log = logging.getLogger("kvcache.detail")
AT_ONCE = Arrival("closed", None, 1.0)


def arrival_of_window(asked: Arrival, plan: Plan, sessions: int) -> Arrival:
    """A closed loop's users, or the run's arrivals: at its rate, faster where a window would take too long at it."""
    if asked.kind == "closed":
        return AT_ONCE
    if asked.kind != "trace":
        rate = rate_per_s(asked.request_rate_per_s, sessions)
        return Arrival(asked.kind, rate, asked.burstiness) if rate else AT_ONCE
    due_s = plan.due_s
    by_trace = len(due_s) / due_s[-1] if due_s and due_s[-1] > 0 else None
    return Arrival("constant", rate_per_s(by_trace, sessions), 1.0) if by_trace else AT_ONCE


class WarmUpDriver:
    """One scenario's warm-up. `play` sends a window; `users` says how many there are."""

    def __init__(self, run: Run, scenario: Scenario, wanted: str | int, repeats: bool) -> None:
        self._run, self._scenario = run, scenario
        self.warm_up = WarmUp(scenario.name, wanted, repeats)
        self._number = 1
        self._nonce = ""
        self._window: WarmUpWindow | None = None

    def run(self, users: Callable[[], int], play: Callable[[WarmUpWindow], None]) -> WarmUp:
        """Window after window; run.json knows of each when it has ended."""
        warm_up, name = self.warm_up, self._scenario.name
        plan, closed = self._run.plan(name), self._run.config.arrival.kind == "closed"
        sessions = window_sessions(plan, max(1, users()) if closed else None)
        console().phase("warming up")
        log.info("%s: warm-up starts, windows of %d sessions; not measured (--warm-up off: none)", name, len(sessions))
        while warm_up.ended is None:
            warm_up.add(self._play(warm_up.next_kind, sessions, play).window())
            self._run.note_warm_up(warm_up.to_dict())
            if warm_up.ended is None:
                log.info("%s: warm-up, %s so far", name, warm_up.text())
        log.info("%s: warm-up done (%s), %s%s", name, warm_up.ended, warm_up.text(), warm_up.limit_text())
        return warm_up

    def again_from(self, arm: str, emptied: list[dict[str, Any]], play: Callable[[WarmUpWindow], None]) -> None:
        """The last prompts once more, after what lies above a tier was emptied: the first use of its path is not measured either."""
        assert self._window is not None
        self.warm_up.after = {"cache_actions": [*self.warm_up.after.get("cache_actions", []), *emptied]}
        self.warm_up.windows.append(self._play(arm, self._window.sessions, play).window())
        self._run.note_warm_up(self.warm_up.to_dict())

    def _play(self, lane: str, sessions: list[int], play: Callable[[WarmUpWindow], None]) -> WarmUpWindow:
        if lane == FRESH:
            self._nonce = secrets.token_hex(4)
        self._number -= 1
        arrival = arrival_of_window(self._run.config.arrival, self._run.plan(self._scenario.name), len(sessions))
        self._window = WarmUpWindow(self._run, self._scenario.name, self._number, lane, self._nonce, sessions, arrival)
        play(self._window)
        return self._window
